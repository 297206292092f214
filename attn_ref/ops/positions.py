"""Where things stand: angles, pairs of features that turn, slopes, buckets of distances."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np

from attn_ref.ops.primitive import primitive


@primitive
def quotient(a: Any, b: Any) -> Any:
    """a / b. Rounded by itself where a power follows, which magnifies the rounding of its exponent."""
    return a / b


@primitive
def power(base: Any, exponent: Any) -> Any:
    """base to the power of ``exponent``."""
    return np.power(base, exponent)


@primitive
def cos(x: Any, *, like: Any = None) -> Any:
    """The cosine of an angle in radians; in the precision of ``like``, if that is given."""
    return in_precision(np.cos(x), like)


@primitive
def sin(x: Any, *, like: Any = None) -> Any:
    """The sine of an angle in radians; in the precision of ``like``, if that is given."""
    return in_precision(np.sin(x), like)


def in_precision(y: Any, like: Any) -> Any:
    """``y`` rounded to the dtype of the real numbers of ``like``; what is complex stays so."""
    dtype = y.real.dtype if like is None else like.real.dtype
    return y.astype(np.result_type(dtype, np.complex64) if np.iscomplexobj(y) else dtype, copy=False)


@primitive
def rotary_frequencies(width: int, *, base: Any) -> Any:
    """base^(−2i/width) for i in 0 … width/2 − 1: the angle from one position to the next."""
    return power(base, -quotient(np.arange(0, width, 2), width))


@primitive
def rotary_angles(positions: Any, width: int, *, base: Any, scaling: float) -> Any:
    """position / scaling · base^(−2i/width) for i in 0 … width/2 − 1: one more axis than ``positions``."""
    return quotient(positions[..., None], scaling) * rotary_frequencies(width, base=base)


def reach(positions: Any, least: int) -> Any:
    """One more than the largest position, and no less than ``least``."""
    return np.max(positions.real, initial=least - 1) + 1


def split_pairs(x: Any, pairing: str) -> tuple[Any, Any]:
    """The first and the second members of the pairs along the last axis: its halves, or its even and odd features."""
    half = x.shape[-1] // 2
    return (x[..., :half], x[..., half:]) if pairing == "half" else (x[..., 0::2], x[..., 1::2])


def merge_pairs(first: Any, second: Any, pairing: str) -> Any:
    """The inverse of ``split_pairs``."""
    if pairing == "half":
        return np.concatenate([first, second], axis=-1)
    return np.stack([first, second], axis=-1).reshape(*first.shape[:-1], 2 * first.shape[-1])


def bias_slopes(heads: int) -> Any:
    """2^(−8k/heads) for k = 1 … heads, if heads is a power of two; for n + m heads, n being the largest power of two
    below, those of n, and then m of those between them: the first, third, fifth … of 2n."""
    n = 1 << (heads.bit_length() - 1)
    between = range(1, 2 * (heads - n), 2)
    return power(2.0, np.array([-8.0 * k / n for k in range(1, n + 1)] + [-4.0 * k / n for k in between]))


def distance_buckets(offsets: Any, *, num_buckets: int, max_distance: int, bidirectional: bool) -> Any:
    """Which bucket an offset key − query (integers) falls into: integers below ``num_buckets``.

    Bidirectional, the first half of the buckets is for keys at or before the query, the other half for keys after it;
    otherwise all are for keys before it, and a key after it counts as distance 0. Of the buckets on a side, the first
    half (e of them) hold one distance each; number e + m starts at e · (max_distance / e)^(m / rest).
    """
    side = num_buckets // 2 if bidirectional else num_buckets
    starts = [*range(1, side // 2 + 1), *far_starts(side, max_distance)]
    distance = np.abs(offsets.real) if bidirectional else np.maximum(-offsets.real, 0)
    bucket = np.digitize(distance, starts)
    return bucket + side * (offsets.real > 0) if bidirectional else bucket


def far_starts(side: int, max_distance: int) -> list[int]:
    """The smallest whole distance in bucket e + m of a side, for m = 1 … rest − 1, in whole numbers throughout:
    n ≥ e (max_distance/e)^(m/rest) where nʳᵉˢᵗ eᵐ ≥ max_distanceᵐ eʳᵉˢᵗ, and a logarithm would have to be rounded."""
    e = side // 2
    rest = side - e

    def start(m: int) -> int:
        bound = max_distance**m * e**rest
        return bisect_left(range(max_distance), True, key=lambda n: n**rest * e**m >= bound)

    return [start(m) for m in range(1, rest)]
