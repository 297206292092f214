"""Positions once more, as scalar loops over plain Python numbers: see ``oracles.py`` for the rules.

Su et al. 2021 (rotary positions, there as complex numbers in equation 12); Chen et al. 2023 (interpolation); Press et
al. 2022 (linear biases); Raffel et al. 2020 (relative position buckets).
"""

from __future__ import annotations

import cmath
import math
from decimal import Decimal, getcontext
from functools import cache
from typing import Any

from oracles import rank

getcontext().prec = 60


def rotary_embedding(
    w: dict,
    x: list,
    positions: Any = None,
    *,
    width: int,
    rotary_width: int | None = None,
    pairing: str = "half",
    base: float = 10000.0,
    scaling: float = 1.0,
    attention_factor: float = 1.0,
    factors: Any = None,
    long_factors: Any = None,
    base_growth: float | None = None,
    **ramp: Any,
) -> list:
    """A pair is a complex number, and is multiplied by a e^(i p θ), θ = base^(−2i/r), divided as the ramp says."""
    r = width if rotary_width is None else rotary_width

    def position(b: int, t: int) -> int:
        if positions is None:
            return t
        row = positions if rank(positions) == 1 else positions[0 if len(positions) == 1 else b]
        return row[0 if len(row) == 1 else t]

    if long_factors or base_growth:
        places = [position(b, t) for b, heads in enumerate(x) for t in range(len(heads[0]))]
        given = places if positions is None else flattened(positions)
        length = ramp["original_length"]
        if long_factors and max(given, default=0) >= length:
            factors = long_factors
        if base_growth:  # as the code of bloc97 and emozilla has it
            seen = max(length, max(given, default=0) + 1)
            base *= math.pow(base_growth * seen / length - (base_growth - 1), r / (r - 2))

    def turned(vector: list, p: int) -> list:
        y = list(vector)
        for i in range(r // 2):
            first, second = (i, i + r // 2) if pairing == "half" else (2 * i, 2 * i + 1)
            frequency = math.pow(base, -2 * i / r)
            divided = share(frequency, i, r // 2, base, **ramp)
            if factors:
                frequency, divided = frequency / factors[i], 1.0
            turn = p * frequency * (divided / scaling + (1 - divided))
            z = complex(vector[first], vector[second]) * cmath.exp(1j * turn) * attention_factor
            y[first], y[second] = z.real, z.imag
        return y

    return [
        [[turned(vector, position(b, t)) for t, vector in enumerate(sequence)] for sequence in heads]
        for b, heads in enumerate(x)
    ]


def flattened(positions: Any) -> list:
    """The numbers of a list, or of a list of lists."""
    return [p for row in positions for p in row] if rank(positions) == 2 else list(positions)


def share(
    frequency: float,
    i: int,
    pairs: int,
    base: float,
    *,
    ramp: str | None = None,
    original_length: int | None = None,
    slow_turns: float = 1.0,
    fast_turns: float = 32.0,
) -> float:
    """How much of a pair's frequency is divided: all of a slow one, nothing of a fast one. Peng et al.; Llama 3."""
    if ramp is None:
        return 1.0
    assert original_length is not None
    if ramp == "turns":  # of the wavelength, by Meta's code: between length / slow and length / fast
        wavelength = 2 * math.pi / frequency
        if wavelength > original_length / slow_turns:
            return 1.0
        if wavelength < original_length / fast_turns:
            return 0.0
        return 1.0 - (original_length / wavelength - slow_turns) / (fast_turns - slow_turns)
    low, high = (
        pairs * math.log(original_length / (n * 2 * math.pi)) / math.log(base) for n in (fast_turns, slow_turns)
    )
    if ramp == "whole_pairs":
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    if low == high:
        high += 0.001
    return min(max((i - low) / (high - low), 0.0), 1.0)


def slopes(n: int) -> list:
    """2^(−8/n), and every next one that much smaller; for other n those of a power of two, and then of twice that."""
    if math.log2(n).is_integer():
        ratio = math.pow(2, -8 / n)
        return [math.pow(ratio, k) for k in range(1, n + 1)]
    lower = 1
    while 2 * lower < n:
        lower *= 2
    return slopes(lower) + [m for k, m in enumerate(slopes(2 * lower)) if k % 2 == 0][: n - lower]


def linear_position_bias(
    w: dict, query_positions: list, key_positions: list | None = None, *, num_heads: int, symmetric: bool = False
) -> list:
    """−m (i − j), or −m |i − j|."""
    keys = query_positions if key_positions is None else key_positions
    return [
        [[-m * (abs(i - j) if symmetric else i - j) for j in keys] for i in query_positions] for m in slopes(num_heads)
    ]


@cache
def bucket(offset: int, num_buckets: int, max_distance: int, bidirectional: bool) -> int:
    """One bucket a distance at first, then buckets of equal width in the logarithm, to 60 digits."""
    first, side = 0, num_buckets
    if bidirectional:
        side = num_buckets // 2
        first = side if offset > 0 else 0
        n = abs(offset)
    else:
        n = -offset if offset < 0 else 0
    near = side // 2
    if n < near:
        return first + n
    steps = (Decimal(n) / near).ln() / (Decimal(max_distance) / near).ln() * (side - near)
    return first + min(near + math.floor(steps + Decimal("1e-40")), side - 1)


def relative_position_bias(
    w: dict,
    query_positions: list,
    key_positions: list | None = None,
    *,
    num_heads: int,
    num_buckets: int = 32,
    max_distance: int = 128,
    bidirectional: bool = True,
) -> list:
    """The table's row for the offset's bucket, at the head's column."""
    keys, table = query_positions if key_positions is None else key_positions, w["table.embedding"]
    return [
        [[table[bucket(j - i, num_buckets, max_distance, bidirectional)][h] for j in keys] for i in query_positions]
        for h in range(num_heads)
    ]
