"""Seeded inputs of a block for a proof: every input given and different, nothing fully masked."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.inputs import Input, free_labels, resolve
from attn_ref.weights import uniform

#: label -> size; different ones, so that no swap of axes goes unseen
SIZES = {"b": 3, "t": 13, "s": 11, "g": 2, "r": 3, "d": 5, "e": 7}
OTHERS = (9, 15, 17)


def sample(block: Block, seed: int) -> dict[str, np.ndarray]:
    """An array for every input of ``block``, optional ones too, from a seed."""
    free = [label for label in free_labels(block.inputs.values()) if label not in SIZES]
    dims = {**SIZES, **dict(zip(free, OTHERS, strict=False))}
    for label, field in block.limits.items():
        dims[label] = min(dims[label], getattr(block, field))
    return {name: draw(block, name, spec, dims, seed) for name, spec in block.inputs.items()}


def draw(block: Block, name: str, spec: Input, dims: dict[str, int], seed: int) -> np.ndarray:
    """One input's values."""
    shape = tuple(resolve(block, axis, dims) or 0 for axis in spec.axes)
    values: Any = uniform(shape, seed, name)
    if spec.kind == "index":
        bound = getattr(block, spec.below) if spec.below else 2
        return np.minimum((values + 1.0) / 2.0 * bound, bound - 1).astype(np.int64)
    if spec.kind == "bool" and not spec.broadcast:  # real tokens first, then padding: rows of different lengths
        rows, last = shape[0], shape[-1]
        lengths = last - np.arange(rows) * max(1, last // rows)
        return np.arange(last) < np.maximum(lengths, 1)[:, None]
    if spec.kind == "bool":
        values = values > -0.3
        values[..., 0] = True
        return values
    return values
