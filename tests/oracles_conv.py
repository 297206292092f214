"""Blocks over space once more, as scalar loops over plain Python numbers: see ``oracles.py`` for the rules.

Dumoulin and Visin 2016 (convolution, pooling); Ioffe and Szegedy 2015, algorithms 1 and 2 (batch norm); Hu et al. 2018
(squeeze-and-excitation); Howard et al. 2019 (hard sigmoid); Woo et al. 2018 (CBAM); Li et al. 2019 (selective kernels).
An image is x[b][i][j][c]. In training a batch norm writes what its statistics become into ``seen``, if that is given.
"""

from __future__ import annotations

import math
from typing import Any

from oracles import linear, relu, softmax


def sigmoid(x: float) -> float:
    """1 / (1 + e⁻ˣ), by the form that does not overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def hard_sigmoid(x: float) -> float:
    """A straight line from 0 at −3 to 1 at 3."""
    return 0.0 if x <= -3 else 1.0 if x >= 3 else (x + 3) / 6


GATES = {"sigmoid": sigmoid, "hard_sigmoid": hard_sigmoid}


def places(size: int, kernel: int, stride: int, padding: int) -> list:
    """For every place of a window the (place in the kernel, place in the array) that it covers, without the padding."""
    starts = range(-padding, size + padding - kernel + 1, stride)
    return [[(k, start + k) for k in range(kernel) if 0 <= start + k < size] for start in starts]


def conv(
    x: list, kernel: list, bias: list | None = None, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> list:
    """Every output channel reads the input channels of its group, under every place of its window."""
    height, width, fan_in, fan_out = len(kernel), len(kernel[0]), len(kernel[0][0]), len(kernel[0][0][0])

    def one(image: list, rows: list, columns: list, o: int) -> float:
        first = o // (fan_out // groups) * fan_in
        terms = [
            image[i][j][first + c] * kernel[ki][kj][c][o] for ki, i in rows for kj, j in columns for c in range(fan_in)
        ]
        return math.fsum([*terms, bias[o] if bias is not None else 0.0])

    return [
        [
            [[one(image, rows, columns, o) for o in range(fan_out)]
             for columns in places(len(image[0]), width, stride, padding)]
            for rows in places(len(image), height, stride, padding)
        ]
        for image in x
    ]  # fmt: skip


def max_pool(x: list, size: int, *, stride: int, padding: int) -> list:
    """The largest of what is there under every window."""
    return [
        [
            [[max(image[i][j][c] for _, i in rows for _, j in columns) for c in range(len(image[0][0]))]
             for columns in places(len(image[0]), size, stride, padding)]
            for rows in places(len(image), size, stride, padding)
        ]
        for image in x
    ]  # fmt: skip


def each(function: Any, x: Any) -> Any:
    """A function of one number, for every number in ``x``."""
    return [each(function, part) for part in x] if isinstance(x, list) else function(x)


def pixels(x: Any) -> list:
    """The vectors of channels of an array of any rank, in one list."""
    return [x] if not isinstance(x[0], list) else [vector for part in x for vector in pixels(part)]


def vectors(function: Any, x: Any) -> Any:
    """A function of a vector of channels, for every one in ``x``."""
    return function(x) if not isinstance(x[0], list) else [vectors(function, part) for part in x]


def batch_norm(
    x: Any, w: dict, name: str, eps: float, momentum: float, unbiased: bool, training: bool, seen: dict | None
) -> Any:
    """By the running statistics, or in training by those of the batch."""
    mean, variance = w[f"{name}.mean"], w[f"{name}.variance"]
    if training:
        columns = list(zip(*pixels(x), strict=True))
        n = len(columns[0])
        new_mean = [math.fsum(column) / n for column in columns]
        squares = [math.fsum((v - m) ** 2 for v in column) for column, m in zip(columns, new_mean, strict=True)]
        if seen is not None:
            counted = [s / (n - 1 if unbiased else n) for s in squares]
            seen[f"{name}.running_mean"] = [
                (1 - momentum) * old + momentum * new for old, new in zip(mean, new_mean, strict=True)
            ]
            seen[f"{name}.running_variance"] = [
                (1 - momentum) * old + momentum * new for old, new in zip(variance, counted, strict=True)
            ]
        mean, variance = new_mean, [s / n for s in squares]
    scale, offset = w[f"{name}.scale"], w[f"{name}.offset"]
    return vectors(
        lambda v: [(v[c] - mean[c]) / math.sqrt(variance[c] + eps) * scale[c] + offset[c] for c in range(len(v))],
        x,
    )


def below(w: dict, name: str) -> dict:
    """The parameters of a sub-block."""
    return {key[len(name) + 1 :]: value for key, value in w.items() if key.startswith(f"{name}.")}


def average(image: list) -> list:
    """The mean of every channel."""
    found = pixels(image)
    return [math.fsum(v[c] for v in found) / len(found) for c in range(len(found[0]))]


def maximum(image: list) -> list:
    """The largest of every channel."""
    found = pixels(image)
    return [max(v[c] for v in found) for c in range(len(found[0]))]


def scaled(image: list, gate: list) -> list:
    """Every channel times its gate."""
    return vectors(lambda v: [v[c] * gate[c] for c in range(len(v))], image)


def bottleneck(w: dict, z: list) -> list:
    """Linear, ReLU, linear."""
    hidden = each(relu, linear(z, w["reduce.kernel"], w.get("reduce.bias")))
    return linear(hidden, w["expand.kernel"], w.get("expand.bias"))


def squeeze_excitation(w: dict, x: list, *, gate: str = "sigmoid", **widths: Any) -> list:
    """Channels scaled by what their means decide."""
    return [scaled(image, each(GATES[gate], bottleneck(w, average(image)))) for image in x]


def channel_attention(w: dict, x: list, **widths: Any) -> list:
    """Channels scaled by what their means and maxima decide."""

    def gate(image: list) -> list:
        sums = zip(bottleneck(w, average(image)), bottleneck(w, maximum(image)), strict=True)
        return [sigmoid(a + b) for a, b in sums]

    return [scaled(image, gate(image)) for image in x]


def spatial_attention(
    w: dict, x: list, *, kernel_size: int = 7, batch_norm: bool = False, eps: float = 1e-5, momentum: float = 0.1,
    unbiased: bool = True, training: bool = False, seen: dict | None = None, **widths: Any,
) -> list:  # fmt: skip
    """Positions scaled by what the mean and the maximum over their channels, and those around them, decide."""
    pooled = vectors(lambda v: [math.fsum(v) / len(v), max(v)], x)
    maps = conv(pooled, w["conv.kernel"], padding=kernel_size // 2)
    if batch_norm:
        maps = norm(maps, w, "norm", eps, momentum, unbiased, training, seen)
    return [
        [[[v * sigmoid(maps[b][i][j][0]) for v in vector] for j, vector in enumerate(row)]
         for i, row in enumerate(image)]
        for b, image in enumerate(x)
    ]  # fmt: skip


norm = batch_norm


def cbam(w: dict, x: list, **fields: Any) -> list:
    """Channels, then positions."""
    return spatial_attention(
        below(w, "spatial_attention"), channel_attention(below(w, "channel_attention"), x), **fields
    )


def cbam_residual(
    w: dict, x: list, *, kernel_size: int = 3, stride: int = 2, eps: float = 1e-5, momentum: float = 0.1,
    unbiased: bool = True, training: bool = False, seen: dict | None = None, **widths: Any,
) -> list:  # fmt: skip
    """Convolution, norm, ReLU, attention; plus the projected maxima; ReLU."""
    y = conv(x, w["conv.kernel"], w["conv.bias"], stride=stride, padding=kernel_size // 2)
    y = each(relu, batch_norm(y, w, "norm", eps, momentum, unbiased, training, seen))
    y = cbam(below(w, "attention"), y, kernel_size=kernel_size)
    other = conv(max_pool(x, 3, stride=stride, padding=1), w["shortcut.kernel"], w["shortcut.bias"])
    return [
        [[[relu(a + b) for a, b in zip(*both, strict=True)] for both in zip(*rows, strict=True)]
         for rows in zip(*images, strict=True)]
        for images in zip(y, other, strict=True)
    ]  # fmt: skip


def selective_kernel(
    w: dict, x: list, *, branches: int = 2, groups: int = 32, stride: int = 1, bottleneck_norm: bool = True,
    eps: float = 1e-5, momentum: float = 0.1, unbiased: bool = True, training: bool = False, seen: dict | None = None,
    **widths: Any,
) -> list:  # fmt: skip
    """Branches, mixed for every channel by a softmax over them."""
    found = []
    for m in range(branches):
        y = conv(
            x, w[f"convs.{m}.kernel"], w.get(f"convs.{m}.bias"), stride=stride, padding=(2 * m + 3) // 2, groups=groups
        )
        found.append(each(relu, batch_norm(y, w, f"norms.{m}", eps, momentum, unbiased, training, seen)))
    totals = [
        [math.fsum(v) for v in zip(*(average(found[m][b]) for m in range(branches)), strict=True)]
        for b in range(len(x))
    ]  # fmt: skip
    reduced = [linear(z, w["reduce.kernel"], w["reduce.bias"]) for z in totals]
    if bottleneck_norm:
        reduced = each(relu, batch_norm(reduced, w, "reduce_norm", eps, momentum, unbiased, training, seen))
    result = []
    for b, z in enumerate(reduced):
        scores = [linear(z, w[f"selects.{m}.kernel"], w[f"selects.{m}.bias"]) for m in range(branches)]
        weights = [softmax(list(column)) for column in zip(*scores, strict=True)]  # of every channel
        rows = range(len(found[0][b])), range(len(found[0][b][0])), range(len(weights))
        result.append(
            [[[math.fsum(weights[c][m] * found[m][b][i][j][c] for m in range(branches)) for c in rows[2]]
              for j in rows[1]] for i in rows[0]]
        )  # fmt: skip
    return result
