"""Where things stand: angles, pairs of features that turn, slopes, buckets of distances."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.ops.primitive import primitive


@primitive
def quotient(a: Any, b: Any) -> Any:
    """a / b. Rounded by itself where a power follows, which magnifies the rounding of its exponent."""
    return a / b


@primitive
def power(base: float, exponent: Any) -> Any:
    """base to the power of ``exponent``."""
    return np.power(base, exponent)


@primitive
def cos(x: Any) -> Any:
    """The cosine of an angle in radians."""
    return np.cos(x)


@primitive
def sin(x: Any) -> Any:
    """The sine of an angle in radians."""
    return np.sin(x)


@primitive
def rotary_angles(positions: Any, width: int, *, base: float, scaling: float) -> Any:
    """position / scaling · base^(−2i/width) for i in 0 … width/2 − 1: one more axis than ``positions``."""
    frequencies = power(base, -quotient(np.arange(0, width, 2), width))
    return quotient(positions[..., None], scaling) * frequencies


def split_pairs(x: Any, pairing: str) -> tuple[Any, Any]:
    """The first and the second members of the pairs along the last axis: its halves, or its even and odd features."""
    half = x.shape[-1] // 2
    return (x[..., :half], x[..., half:]) if pairing == "half" else (x[..., 0::2], x[..., 1::2])


def merge_pairs(first: Any, second: Any, pairing: str) -> Any:
    """The inverse of ``split_pairs``."""
    if pairing == "half":
        return np.concatenate([first, second], axis=-1)
    return np.stack([first, second], axis=-1).reshape(*first.shape[:-1], 2 * first.shape[-1])
