"""The ways in which numbers of one shape may lie in another, the most probable first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import prod

from attn_ref.live.rule import Rule
from attn_ref.trace.match import orders

Shape = tuple[int, ...]
#: layouts of one array in another that are tried; and of one without axes to turn
MOST, FEW = 24, 3
#: how improbable it is that parts of one axis stand in another order, beside two axes that do
TWIST = 1.1
#: gates of a recurrent layer: how many -> the order in which another framework has them
GATES = {3: (1, 0, 2)}


@dataclass(frozen=True)
class Hints:
    """What is known of two models that says how axes may be cut."""

    #: the frameworks of the two
    source: str = "torch"
    target: str = "keras"
    #: sizes of neighbouring axes that a flat one may be, as maps (channels, height, width) that were flattened
    flat: frozenset[Shape] = frozenset()
    #: numbers of heads
    heads: tuple[int, ...] = ()

    @property
    def way(self) -> int:
        """Are the layouts those of one framework (0), or to be turned: from torch's (1), to torch's (-1)?"""
        return 0 if self.source == self.target else 1 if self.source == "torch" else -1


def ideal(source: Shape, target: Shape, way: int) -> Shape:
    """The order of axes that is usual."""
    n = len(source)
    if way == 0 or n < 2:
        return tuple(range(n))
    if n == 2:
        return (1, 0)
    if way > 0:
        return (*range(2, n), 1, 0)
    if n == 3 and len(target) == 2:
        return (1, 2, 0)
    return (n - 1, n - 2, *range(n - 2))


def whole(source: Shape, target: Shape, hints: Hints, *, kernel: bool = True) -> list[tuple[Shape, Shape]]:
    """(split, order): how all of one may be all of the other. ``kernel``: it may be one, whose axes are turned."""
    found: dict[tuple[Shape, Shape], float] = {}
    if prod(source) != prod(target):
        return []
    wanted = ideal(source, target, hints.way if kernel else 0)
    for split, order, origin in cuts(source, target, hints):
        placed = [origin[i] for i in order]
        parts_of_maps = max(map(origin.count, origin)) > 2
        twists = 0.5 if parts_of_maps else TWIST * twisted(order, origin)
        found.setdefault((split, order), distance(placed, wanted) + twists)
    return sorted(found, key=lambda one: found[one])[: MOST if max(len(source), len(target)) > 1 else FEW]


def cuts(source: Shape, target: Shape, hints: Hints) -> Iterator[tuple[Shape, Shape, Shape]]:
    """(split, order, of which axis of the source each axis of the split is)."""
    plain = tuple(range(len(source)))
    if source == target:
        yield source, plain, plain
    for order in orders(target, source) if len(source) < 7 else ():
        yield source, full(order, len(source)), plain
    for order in orders(source, target) if len(target) < 7 else ():
        every = full(order, len(target))
        split = tuple(target[i] for i in every)
        yield split, tuple(every.index(i) for i in range(len(target))), owners(source, split)
    if len(source) <= 2 and len(target) <= 2:
        yield from flattened(source, target, hints)
        yield from by_heads(source, target, hints)


def full(order: Shape, count: int) -> Shape:
    """An order with the axes of size 1, which it leaves out, in front."""
    return (*(i for i in range(count) if i not in order), *order)


def owners(source: Shape, split: Shape) -> Shape:
    """Of which axis of ``source``, whose axes were cut, each of ``split`` is."""
    found, at, left = [], 0, list(source)
    for size in split:
        while at < len(left) - 1 and left[at] < size:
            at += 1
        while at < len(left) - 1 and left[at] == 1 and size > 1:
            at += 1
        found.append(at)
        left[at] //= max(size, 1)
        if left[at] == 1 and at < len(left) - 1 and size > 1:
            at += 1
    return tuple(found)


def flattened(source: Shape, target: Shape, hints: Hints) -> Iterator[tuple[Shape, Shape, Shape]]:
    """An axis that was maps, laid flat channels first in one and channels last in the other."""
    for axis, size in enumerate(source):
        for maps in sorted(hints.flat, key=lambda maps: (-max(maps), maps)):
            if prod(maps) != size or len(maps) < 2:
                continue
            split = (*source[:axis], *maps, *source[axis + 1 :])
            origin = (*range(axis), *([axis] * len(maps)), *range(axis + 1, len(source)))
            inside = tuple(range(axis, axis + len(maps)))
            for turned in ((*inside[1:], inside[0]), (inside[-1], *inside[:-1])):
                for outer in permutations(range(len(source))):
                    order = tuple(
                        i for one in outer for i in (turned if one == axis else (one + (len(maps) - 1) * (one > axis),))
                    )
                    if merged([split[i] for i in order], [origin[i] for i in order]) == target:
                        yield split, order, origin


def by_heads(source: Shape, target: Shape, hints: Hints) -> Iterator[tuple[Shape, Shape, Shape]]:
    """An axis of heads and widths that the other has as widths and heads."""
    for axis, size in enumerate(source):
        for heads in hints.heads:
            if size % heads or heads in (1, size):
                continue
            for pair in {(heads, size // heads), (size // heads, heads)}:
                split = (*source[:axis], *pair, *source[axis + 1 :])
                origin = (*range(axis), axis, axis, *range(axis + 1, len(source)))
                for outer in permutations(range(len(source))):
                    order = tuple(
                        i for one in outer for i in ((axis + 1, axis) if one == axis else (one + (one > axis),))
                    )
                    if merged([split[i] for i in order], [origin[i] for i in order]) == target:
                        yield split, order, origin


def merged(sizes: Sequence[int], origin: Sequence[int]) -> Shape:
    """Sizes of axes, neighbours of one origin as one."""
    found: list[int] = []
    last = None
    for size, of in zip(sizes, origin, strict=True):
        if of == last:
            found[-1] *= size
        else:
            found.append(size)
        last = of
    return tuple(found)


def distance(order: Sequence[int], wanted: Sequence[int]) -> float:
    """How many pairs stand the other way round."""
    rank = {axis: i for i, axis in enumerate(wanted)}
    places = [rank.get(axis, -1) for axis in order]
    return sum(places[i] > places[j] for i in range(len(places)) for j in range(i + 1, len(places)))


def twisted(order: Sequence[int], origin: Sequence[int]) -> int:
    """How many pairs of parts of one axis do not stand in their order."""
    return sum(
        order[i] > order[j] and origin[order[i]] == origin[order[j]]
        for i in range(len(order))
        for j in range(i + 1, len(order))
    )


def rules(
    target: Shape, sources: Sequence[str], shapes: Sequence[Shape], hints: Hints, kernel: bool = True
) -> Iterator[Rule]:
    """How a parameter of shape ``target`` may be all of one source, or of several that are alike."""
    if len(sources) == 1:
        (shape,) = shapes
        for split, order in whole(shape, target, hints, kernel=kernel):
            trivial = order == tuple(range(len(order)))
            yield Rule(tuple(sources), target, () if trivial else split, () if trivial else order)
        return
    if len(set(shapes)) > 1:
        return
    if prod(shapes[0]) == prod(target):
        yield from (replace(rule, sources=tuple(sources), join="sum")
                    for rule in rules(target, sources[:1], shapes[:1], hints, kernel))  # fmt: skip
        return
    yield from joined(target, tuple(sources), shapes[0], hints, kernel)


def joined(target: Shape, sources: tuple[str, ...], shape: Shape, hints: Hints, kernel: bool) -> Iterator[Rule]:
    """The same of several that are stacked: one after the other along what comes out, else in any way."""
    count = len(sources)
    inner = ideal(shape, target, hints.way if kernel else 0)
    stacked = (count, *shape)
    found: dict[tuple[Shape, Shape], float] = {}
    for split, order, origin in cuts(stacked, target, hints):
        placed = [origin[i] for i in order]
        rest = [axis - 1 for axis in placed if axis > 0]
        at = placed.index(0) if 0 in placed else 0
        out = rest[:1] if hints.target == "torch" else rest[-1:]
        beside = placed[at + 1 : at + 2]
        found[split, order] = (
            distance(rest, inner)
            + 0.3 * (bool(beside) and bool(out) and beside[0] - 1 != out[0])
            + TWIST * twisted(order, origin)
        )
    for split, order in sorted(found, key=lambda one: found[one])[:MOST]:
        yield Rule(sources, target, split, order)


def parts(
    target: Shape, source: str, shape: Shape, hints: Hints, part: int, count: int, kernel: bool = True
) -> Iterator[Rule]:
    """How a parameter may be the part of that number, of ``count``, of a source: in chunks, or in turn."""
    ways: list[tuple[float, Rule]] = []
    for axis, size in enumerate(shape):
        if size % count:
            continue
        n = size // count
        cut: list[tuple[float, Shape, int]] = [(0.0, (count, n), 0), (0.5, (n, count), 1)]
        cut += [(0.25, (h, count, n // h), 1) for h in hints.heads if n % h == 0 and h not in (1, n)]
        for worse, pieces, at in cut:
            if 1 in (pieces[0], pieces[-1]) and len(pieces) == 2 and count != size:
                continue
            left = (*shape[:axis], n, *shape[axis + 1 :])
            for rank, (split, order) in enumerate(whole(left, target, hints, kernel=kernel)):
                refined = refine(shape, axis, pieces, at, left, split, order)
                if refined is None:
                    continue
                full_split, where, full_order = refined
                # a linear layer's parts lie along what comes out of it: the first axis in torch, the last in Keras
                outward = size != count and axis != (0 if hints.source == "torch" else len(shape) - 1)
                ways.append((rank + worse + 0.3 * outward, Rule((source,), target, full_split, full_order,
                                                                (where, (part,)))))  # fmt: skip
    yield from (rule for _, rule in sorted(ways, key=lambda one: one[0])[:MOST])


def refine(
    shape: Shape, axis: int, pieces: Shape, at: int, left: Shape, split: Shape, order: Shape
) -> tuple[Shape, int, Shape] | None:
    """A cut of what is left once a part is taken, as a cut of all: (split, where the part is taken, order)."""
    origin = owners(left, split)
    mine = [i for i, of in enumerate(origin) if of == axis and left[axis] > 1]
    sizes = [split[i] for i in mine]
    if prod(sizes) != left[axis]:
        return None
    outer, inner = prod(pieces[:at]), prod(pieces[at + 1 :])
    here, k = 1, 0
    while k < len(sizes) and here < outer:
        here *= sizes[k]
        k += 1
    if here != outer:  # the axes of the split do not end where the part stands: cut one of them
        if len(sizes) == 1:
            i = mine[0]
            new = (*split[:i], outer, inner, *split[i + 1 :])
            moved = tuple(j for one in order for j in ((i, i + 1) if one == i else (one + (one > i),)))
            return refine(shape, axis, pieces, at, left, new, moved) if 1 not in (outer, inner) else None
        return None
    after = mine[-1] + 1 if mine else sum(of < axis for of in origin)
    place = mine[k] if k < len(mine) else after
    full_split = (*split[:place], pieces[at], *split[place:])
    return full_split, place, (place, *(i + (i >= place) for i in order))


def gated(rule: Rule, shapes: Sequence[Shape], gates: int, torch: bool) -> Rule:
    """A rule of a recurrent layer's parameter, its gates in the order in which the other framework has them.

    ``torch``: is it made of torch's? There the gates lie along the first axis of a kernel, elsewhere along the last.
    """
    if gates not in GATES:
        return rule
    stacked = (len(rule.sources), *shapes[0]) if len(rule.sources) > 1 and rule.join == "stack" else shapes[0]
    split, order = rule.split or stacked, rule.order or tuple(range(len(rule.split or stacked)))
    axis = 0 if torch and len(rule.sources) == 1 else len(split) - 1
    width = split[axis] // gates
    if rule.take is not None:  # one of the two biases that are a matrix
        ((part,), turned) = rule.take[1], GATES[gates]
        width = prod(split) // split[0] // gates
        return replace(rule, split=(split[0] * gates, width), order=(0, 1),
                       take=(0, tuple(part * gates + i for i in turned)))  # fmt: skip
    new = (*split[:axis], gates, width, *split[axis + 1 :])
    moved = tuple(j for one in order for j in ((axis, axis + 1) if one == axis else (one + (one > axis),)))
    return replace(rule, split=new, order=moved, take=(axis, GATES[gates]))


def unique(found: Iterable[Rule], known: Collection[Rule] = ()) -> list[Rule]:
    """Each once."""
    return [rule for rule in dict.fromkeys(found) if rule not in known]
