"""How well the parameters of a block fit the arrays that a layer holds, by their shapes alone.

A layer may hold a kernel transposed, reshaped, packed with others or split by heads. Each array of either side counts
by the root of its numbers, so that a few biases do not vanish beside the kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod, sqrt

Shape = tuple[int, ...]

#: of so many parameters one array may be packed
PACKED = (2, 3, 4)
#: what an array of the right size and of other axes counts
RESHAPED = 0.9
#: and a parameter in several arrays
SPLIT = 0.95


def axes(shape: Shape) -> Shape:
    """The axes that are more than 1, in order of size."""
    return tuple(sorted(n for n in shape if n != 1))


def fit(wanted: Sequence[Shape], held: Sequence[Shape]) -> float:
    """The share of both sides that finds a counterpart on the other, from 0 to 1. ``wanted``: in the block's order."""
    whole = sum(sqrt(prod(shape)) for shape in (*wanted, *held))
    if not whole:
        return 1.0
    found = 0.0
    free = Counter(axes(shape) for shape in held)
    left: list[Shape] = []
    for shape in map(axes, wanted):
        if free[shape]:
            free[shape] -= 1
            found += 2 * sqrt(prod(shape))
        else:
            left.append(shape)
    for steps in (packed, split, reshaped):
        found += steps(left, free)
    return found / whole


def packed(left: list[Shape], free: Counter[Shape]) -> float:
    """Arrays that are several parameters beside each other; these are taken from both sides."""
    found = 0.0
    for whole in [shape for shape in free.elements() if len(shape) > 0]:
        for run in runs(left):
            if sum(prod(left[i]) for i in run) == prod(whole) and side_by_side([left[i] for i in run], whole):
                found += sqrt(prod(whole)) + sum(sqrt(prod(left[i])) for i in run)
                free[whole] -= 1
                for i in reversed(run):
                    del left[i]
                break
    return found


def runs(left: Sequence[Shape]) -> list[list[int]]:
    """Two, three or four parameters of as many axes, one after the other."""
    found = []
    for rank in (2, 1):
        of = [i for i, shape in enumerate(left) if len(shape) == rank]
        found += [of[at : at + n] for n in PACKED for at in range(len(of) - n + 1)]
    return found


def side_by_side(parts: Sequence[Shape], whole: Shape) -> bool:
    """Are these, joined along one axis, that array? It may have heads as an axis of its own."""
    if len(parts[0]) == 1:
        return True
    shared = set(parts[0]).intersection(*parts[1:])
    return any(n in whole or len(whole) > 2 for n in shared)


def split(left: list[Shape], free: Counter[Shape]) -> float:
    """Parameters that lie in several equal arrays, such as one for each head."""
    found = 0.0
    for shape in list(left):
        for part, count in sorted(free.items(), key=lambda one: -one[1]):
            if count < 2 or not part or prod(shape) % prod(part):
                continue
            n = prod(shape) // prod(part)
            if 2 <= n <= count and shared(shape, part):
                free[part] -= n
                left.remove(shape)
                found += SPLIT * (sqrt(prod(shape)) + n * sqrt(prod(part)))
                break
    return found


def shared(shape: Shape, part: Shape) -> bool:
    """May an array be a part of one of that shape: are all of its axes but one the same?"""
    return len(shape) == 1 or any(n in shape for n in part)


def reshaped(left: list[Shape], free: Counter[Shape]) -> float:
    """Arrays of as many numbers on other axes."""
    found = 0.0
    for shape in list(left):
        other = next((s for s, count in free.items() if count and prod(s) == prod(shape)), None)
        if other is not None:
            free[other] -= 1
            left.remove(shape)
            found += RESHAPED * 2 * sqrt(prod(shape))
    return found
