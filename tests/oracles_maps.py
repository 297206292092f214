"""Attention over feature maps once more, as scalar loops over plain Python floats.

Written from the papers and the blocks' documented fields, as ``oracles.py`` is and by its rules. A map is
x[b][i][j][c]; a 1 × 1 convolution is a linear layer of every pixel. Zhang et al. 2019 (SAGAN); Fu et al. 2019 (DANet);
Wang et al. 2018 (non-local); Ioffe and Szegedy 2015 (batch norm).
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

from oracles import linear, relu, softmax


def project(w: dict, name: str, x: list) -> list:
    """A convolution with a kernel of 1: the same linear layer at every pixel. ``x`` is a list of pixels."""
    kernel = w[f"{name}.kernel"]
    while isinstance(kernel[0][0], list):  # (1, …, in, out) → (in, out)
        kernel = kernel[0]
    return [linear(pixel, kernel, w.get(f"{name}.bias")) for pixel in x]


PROJECT = project  # which is also the name of a field


def pixels(x: list, dimensions: int) -> tuple[list, list]:
    """The pixels of one sample row by row, and the sizes of its space."""
    if dimensions == 1:
        return x, [len(x)]
    inner = [pixels(part, dimensions - 1) for part in x]
    return [pixel for flat, _ in inner for pixel in flat], [len(x), *inner[0][1]]


def dot(a: list, b: list) -> float:
    """Σ aᵢ bᵢ."""
    return math.fsum(a[i] * b[i] for i in range(len(a)))


def mixed(weights: list, values: list) -> list:
    """Σⱼ weightsⱼ valuesⱼ, each value a vector."""
    return [math.fsum(weights[j] * values[j][c] for j in range(len(values))) for c in range(len(values[0]))]


def folded(flat: list, sizes: list) -> list:
    """The inverse of ``pixels``: nested by the sizes of space."""
    if len(sizes) == 1:
        return flat
    step = math.prod(sizes[1:])
    return [folded(flat[i * step : i * step + step], sizes[1:]) for i in range(sizes[0])]


def halved(flat: list, sizes: list) -> list:
    """The largest of every window of 2 along the last two axes of space, or the only one; what is over is left out."""
    steps = [1] * (len(sizes) - 2) + [2] * min(2, len(sizes))
    found = []
    for corner in product(*(range(size // step) for size, step in zip(sizes, steps, strict=True))):
        window = []
        for offset in product(*map(range, steps)):
            at = 0
            for k, size in enumerate(sizes):
                at = at * size + corner[k] * steps[k] + offset[k]
            window.append(flat[at])
        found.append([max(pixel[c] for pixel in window) for c in range(len(flat[0]))])
    return found


def multi_head_attention2d(
    w: dict, x: list, *, num_heads: int, scale: Any, activation: Any, position: Any, project: bool, residual: bool,
    **_: Any,
) -> list:  # fmt: skip
    """Heads are contiguous slices of the channels; the residual is what came in, before the position."""
    out = []
    for sample in x:
        flat, sizes = pixels(sample, 2)
        seen = flat
        if position == "content":
            extra = PROJECT(w, "position", flat)
            seen = [[p[c] + relu(e[c]) for c in range(len(p))] for p, e in zip(flat, extra, strict=True)]
        q, k, v = (PROJECT(w, name, seen) for name in ("query", "key", "value"))
        if activation == "relu":
            q, k, v = ([[relu(value) for value in pixel] for pixel in y] for y in (q, k, v))
        d, e = len(q[0]) // num_heads, len(v[0]) // num_heads
        factor = {"head": 1 / math.sqrt(d), "total": 1 / math.sqrt(num_heads * d), None: 1.0}.get(scale, scale)
        rows = []
        for i in range(len(flat)):
            row: list = []
            for h in range(num_heads):
                mine = q[i][h * d : h * d + d]
                scores = [factor * dot(mine, k[j][h * d : h * d + d]) for j in range(len(flat))]
                row += mixed(softmax(scores), [v[j][h * e : h * e + e] for j in range(len(flat))])
            rows.append(row)
        rows = PROJECT(w, "project", rows) if project else rows
        if residual:
            rows = [[r[c] + p[c] for c in range(len(r))] for r, p in zip(rows, flat, strict=True)]
        out.append(folded(rows, sizes))
    return out


def spatial_self_attention(w: dict, x: list, *, sub_sample: bool, project: bool, **_: Any) -> list:
    """γ Σⱼ softmaxⱼ(qᵢ · kⱼ) vⱼ + xᵢ."""
    out = []
    for sample in x:
        flat, sizes = pixels(sample, 2)
        q, k, v = (PROJECT(w, name, flat) for name in ("query", "key", "value"))
        if sub_sample:
            k, v = halved(k, sizes), halved(v, sizes)
        rows = [mixed(softmax([dot(mine, key) for key in k]), v) for mine in q]
        rows = PROJECT(w, "project", rows) if project else rows
        y = [[w["gate"][0] * r[c] + p[c] for c in range(len(p))] for r, p in zip(rows, flat, strict=True)]
        out.append(folded(y, sizes))
    return out


def channel_self_attention(
    w: dict, x: list, *, project_inputs: bool, project_shortcut: bool, invert: bool, **_: Any
) -> list:
    """γ Σ_k softmax_k(Σₙ q_nc k_nk) v_nk + shortcut_nc; inverted: of max − score."""
    out = []
    for sample in x:
        flat, sizes = pixels(sample, 2)
        q, k, v = (PROJECT(w, name, flat) if project_inputs else flat for name in ("query", "key", "value"))
        shortcut = PROJECT(w, "shortcut", flat) if project_shortcut else flat
        channels, every = range(len(q[0])), range(len(flat))
        y = [[0.0] * len(q[0]) for _ in every]
        for c in channels:
            scores = [math.fsum(q[n][c] * k[n][other] for n in every) for other in channels]
            weights = softmax([max(scores) - score for score in scores] if invert else scores)
            for n in every:
                mean = math.fsum(weights[other] * v[n][other] for other in channels)
                y[n][c] = w["gate"][0] * mean + shortcut[n][c]
        out.append(folded(y, sizes))
    return out


def non_local(
    w: dict, x: list, *, channels: int, dimensions: int, pairing: str, scale: Any, sub_sample: bool, batch_norm: bool,
    eps: float, training: bool = False, **_: Any,
) -> list:  # fmt: skip
    """Σⱼ f(θᵢ · φⱼ) gⱼ, projected back, normalised over the batch, added to xᵢ."""
    flats, branch, sizes = [], [], []
    for sample in x:
        flat, sizes = pixels(sample, dimensions)
        theta, phi, g = (PROJECT(w, name, flat) for name in ("theta", "phi", "g"))
        if sub_sample:
            phi, g = halved(phi, sizes), halved(g, sizes)
        factor = {"input": 1 / math.sqrt(channels), "inner": 1 / math.sqrt(len(g[0])), None: 1.0}.get(scale, scale)
        rows = []
        for mine in theta:
            scores = [factor * dot(mine, key) for key in phi]
            weights = softmax(scores) if pairing == "softmax" else [score / len(phi) for score in scores]
            rows.append(mixed(weights, g))
        flats.append(flat)
        branch.append(PROJECT(w, "project", rows))
    for c in range(channels) if batch_norm else ():
        mean, variance = w["norm.mean"][c], w["norm.variance"][c]
        if training:
            values = [row[c] for rows in branch for row in rows]
            mean = math.fsum(values) / len(values)
            variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
        for rows in branch:
            for row in rows:
                standard = (row[c] - mean) / math.sqrt(variance + eps)
                row[c] = standard * w["norm.scale"][c] + w["norm.offset"][c]
    return [
        folded([[r[c] + p[c] for c in range(channels)] for r, p in zip(rows, flat, strict=True)], sizes)
        for rows, flat in zip(branch, flats, strict=True)
    ]
