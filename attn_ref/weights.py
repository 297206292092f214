"""Canonical weights: flat, named, seeded by exact arithmetic.

The arrays come from the raw integers of PCG64, which NumPy promises to keep, and from multiplications that IEEE 754
rounds in one way only. ``Generator.standard_normal`` may change between versions of NumPy; these may not, and a test
pins them by a hash.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: leaf name -> (centre, half-width): every parameter is off its special values (no zero bias, no unit scale), so that
#: one that is dropped or swapped changes the result. A kernel's half-width is divided by the root of its fan-in.
SPREAD = {
    "kernel": (0.0, 1.75),
    "bias": (0.0, 0.5),
    "scale": (1.0, 0.5),
    "offset": (0.0, 0.5),
    "mean": (0.0, 0.5),
    "variance": (1.0, 0.5),
    "embedding": (0.0, 1.75),
    "gate": (0.75, 0.5),
}


#: leaf name -> what all of a parameter is in a new layer, where papers and frameworks are at one about it
START = {"scale": 1.0, "offset": 0.0, "mean": 0.0, "variance": 1.0, "gate": 0.0}


@dataclass(frozen=True)
class Param:
    """A parameter's shape and how a seed fills it: ``init`` is a key of ``SPREAD``, by default its leaf name.

    Statistics are not ``trainable``: no gradient belongs to them. ``start``: what all of it is in a new layer, by
    default what ``START`` says of its leaf name.
    """

    shape: tuple[int, ...]
    init: str | None = None
    trainable: bool = True
    start: float | None = None


def dense(name: str, fan_in: int, fan_out: int, *, bias: bool = True) -> dict[str, Param]:
    """The parameters of a linear layer: ``name.kernel`` (in, out) and ``name.bias`` (out,)."""
    kernel = {f"{name}.kernel": Param((fan_in, fan_out))}
    return kernel | {f"{name}.bias": Param((fan_out,))} if bias else kernel


def norm(name: str, width: int) -> dict[str, Param]:
    """The parameters of a layer norm: ``name.scale`` and ``name.offset``, both (width,)."""
    return {f"{name}.scale": Param((width,)), f"{name}.offset": Param((width,))}


def batch_norm(name: str, width: int) -> dict[str, Param]:
    """The parameters of a batch norm: ``name.scale`` and ``name.offset``, and its running statistics, all (width,)."""
    statistics = {f"{name}.{leaf}": Param((width,), trainable=False) for leaf in ("mean", "variance")}
    return norm(name, width) | statistics


def conv(
    name: str, size: Sequence[int], fan_in: int, fan_out: int, *, bias: bool = True, groups: int = 1
) -> dict[str, Param]:
    """The parameters of a convolution: ``name.kernel`` (size…, in / groups, out) and ``name.bias`` (out,)."""
    kernel = {f"{name}.kernel": Param((*size, fan_in // groups, fan_out))}
    return kernel | {f"{name}.bias": Param((fan_out,))} if bias else kernel


def start_of(name: str, param: Param) -> float | None:
    """What all of a parameter is in a new layer; None where frameworks choose."""
    return START.get(name.rpartition(".")[2]) if param.start is None else param.start


def uniform(shape: Sequence[int], *seed: int | str) -> np.ndarray:
    """float64 values in [−1, 1), the same on every machine and with every NumPy, from integers and names as seed."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in seed]
    size = math.prod(shape)
    raw = np.random.PCG64(np.random.SeedSequence(words)).random_raw(size) if size else np.zeros(0, np.uint64)
    return ((raw >> np.uint64(11)) * 2.0**-52 - 1.0).reshape(shape)


def initial(params: Mapping[str, Param], seed: int) -> dict[str, np.ndarray]:
    """Seeded float64 arrays for ``params``: meant for comparing, not as a start of training."""
    weights = {}
    for name, param in params.items():
        leaf = param.init or name.rpartition(".")[2]
        if leaf not in SPREAD:
            raise ValueError(f"parameter {name!r}: give Param(shape, init) one of {', '.join(SPREAD)}; got {leaf!r}")
        centre, width = SPREAD[leaf]
        if leaf == "kernel":
            width /= np.sqrt(max(1, math.prod(param.shape[:-1])))
        weights[name] = centre + width * uniform(param.shape, seed, name)
    return weights


def cast(weights: Mapping[str, np.ndarray], dtype: Any) -> dict[str, np.ndarray]:
    """The same weights rounded to ``dtype``; see ``rounded``."""
    return {name: rounded(value, dtype) for name, value in weights.items()}


def rounded(value: Any, dtype: Any) -> np.ndarray:
    """``value`` rounded to ``dtype``, half to even. NumPy has no bfloat16: it comes as a float32 that holds it.

    >>> rounded([1.0, 1.01, -300.0], "bfloat16").tolist()
    [1.0, 1.0078125, -300.0]
    """
    if str(dtype) != "bfloat16":
        return np.asarray(value).astype(dtype)
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)  # a bfloat16 is the upper half of a float32
    return bits.astype(np.uint32).view(np.float32).reshape(np.shape(value))


class Weights(Mapping[str, Any]):
    """A block's view of the flat weights: ``w["query.kernel"]`` is an array, ``w["attention"]`` the view below it."""

    def __init__(self, flat: Mapping[str, np.ndarray], prefix: str = "", name: str = "") -> None:
        self.flat, self.prefix, self.name = flat, prefix, name

    def __getitem__(self, name: str) -> Any:
        full = self.prefix + name
        return self.flat[full] if full in self.flat else Weights(self.flat, full + ".", name)

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self.prefix) for name in self.flat if name.startswith(self.prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def mismatches(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]) -> list[str]:
    """What is missing, unexpected or misshapen in ``given``, a line each; empty when all is well."""
    lines = [f"missing: {name} {shape}" for name, shape in expected.items() if name not in given]
    lines += [f"unexpected: {name} {tuple(given[name].shape)}" for name in given if name not in expected]
    lines += [
        f"wrong shape: {name} should be {tuple(shape)}, got {tuple(given[name].shape)}"
        for name, shape in expected.items()
        if name in given and tuple(given[name].shape) != tuple(shape)
    ]
    return lines
