"""Two traces against one another: which values both have, and the first that only one has and that matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attn_ref.trace.came import above, below
from attn_ref.trace.flow import INPUT
from attn_ref.trace.loops import stacked
from attn_ref.trace.match import alike, laid, marks, orders, ratio, same
from attn_ref.trace.record import Record, Trace

#: scores below it are masked: at whatever depth, a softmax makes nothing of them
MASKED = -5e3
#: a value that is smaller all over is what rounding leaves of zero
NOISE = 1e-13
#: axes that are put in every order
MOST_AXES = 7


@dataclass
class Value:
    """A record, with its value as it is compared."""

    record: Record
    value: np.ndarray
    marks: tuple[float, float, float]
    #: records of which a loop's values were put together, where it is that
    group: frozenset[float] = frozenset()

    @property
    def sizes(self) -> list[int]:
        """Of its axes, in no order."""
        return sorted(n for n in self.value.shape if n != 1)


class Side:
    """The values of one trace that say something, by size, and which came of which."""

    def __init__(self, trace: Trace, outputs: Sequence[np.ndarray]) -> None:
        self.trace = trace
        self.values: list[Value] = []
        lines: dict[object, set[float]] = {}
        for record in trace.records:
            lines.setdefault((record.line, record.operation, record.value.shape), set()).add(record.number)
        self.by_size: dict[int, list[Value]] = {}
        for record in trace.records:
            self.take(record)
        for record in stacked(trace.records):
            if np.array_equal(record.value[0], record.value[-1], equal_nan=True):
                continue  # a function that is called again for the same
            self.take(record, lines[record.line, record.operation, record.value.shape[1:]])
        for group in (self.values, *self.by_size.values()):
            group.sort(key=lambda one: one.record.number)
        self.of_input = self.below({INPUT})
        self.to_output = self.above({one.record.number for one in self.values if is_one_of(one.value, outputs)})

    def take(self, record: Record, group: set[float] | None = None) -> None:
        """Take a value, if it says something. ``group``: the records of a loop of which it was put together.

        Parts that together are a value which the layer has are no loop's: they were cut from it.
        """
        if not says_something(record.value):
            return
        value = tame(record.value)
        made = Value(record, value, marks(value), frozenset(group or ()))
        if group and self.find(made):
            return
        self.values.append(made)
        self.by_size.setdefault(value.size, []).append(made)

    def find(self, wanted: Value) -> Value | None:
        """The first value that is ``wanted`` in some order of axes: one of axes of these sizes, else any."""
        found = None
        for one in self.by_size.get(wanted.value.size, ()):
            of_sizes = one.sizes == wanted.sizes
            if (of_sizes or found is None) and alike(one.marks, wanted.marks) and fits(one.value, wanted.value):
                if of_sizes:
                    return one
                found = one
        return found

    @property
    def parents(self) -> dict[float, frozenset[float]]:
        """A record -> those of which it came; of a loop's values together, those values."""
        every: dict[float, frozenset[float]] = {n: frozenset(came) for n, came in self.trace.parents.items()}
        return every | {one.record.number: one.group for one in self.values if one.group}

    def below(self, start: set[float]) -> set[float]:
        """``start``, and the records that came of it."""
        return below(self.parents, start)

    def above(self, end: set[float]) -> set[float]:
        """``end``, and the records of which it came."""
        return above(self.parents, end)


def says_something(value: np.ndarray) -> bool:
    """Can it be told from others? One number all over cannot, nor can what rounding leaves of zero."""
    finite = value[np.isfinite(value)]
    return bool(finite.size > 1 and np.any(finite != finite[0]) and np.max(np.abs(finite)) > NOISE)


def tame(value: np.ndarray) -> np.ndarray:
    """A value, what is masked at −∞."""
    low = value < MASKED
    return np.where(low, -np.inf, value) if low.any() and not low.all() else value


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Are they equal up to rounding, infinite and NaN at the same places?"""
    if a.shape != b.shape:
        return False
    finite = np.isfinite(a)
    if finite.all() and np.isfinite(b).all():
        return same(a, b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return False
    return same(a[finite], b[finite])


def fits(a: np.ndarray, b: np.ndarray) -> bool:
    """Is one the other, in some order of axes and a reshape?"""
    return any(equal(x, y) for x, y in layouts(a, b))


def layouts(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both in one shape, for every order of axes in which one may be the other."""
    if a.shape == b.shape:
        yield a, b
    for x, y in ((a, b), (b, a)):
        if y.ndim > MOST_AXES:
            continue
        for order in orders(x.shape, y.shape):
            if upright(order, y.shape) and not (a.shape == b.shape and list(order) == sorted(order)):
                pair = laid(x, y.shape, order), y
                yield pair if x is a else pair[::-1]
        if a.shape == b.shape:
            return


def upright(order: Sequence[int], sizes: Sequence[int]) -> bool:
    """Do axes of one size stay in their order, but for channels that stand first in the one and last in the other?"""
    rest = [i for i in order if i]
    first, last = sorted(rest)[-1:] + sorted(rest)[:-1], sorted(rest)[1:] + sorted(rest)[:1]
    if len(sizes) > 3 and rest in (first, last) and 0 not in order[1:]:
        return True
    return all(
        order[i] < order[j] or sizes[order[i]] != sizes[order[j]]
        for i in range(len(order))
        for j in range(i + 1, len(order))
    )


def is_one_of(value: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """Is it one of them as it lies?"""
    return any(value.shape == x.shape and np.array_equal(value, tame(x), equal_nan=True) for x in others)


@dataclass
class Parting:
    """Where two traces part: the first value that matters of either that the other never has."""

    a: Value | None
    b: Value | None
    #: values that depend on the input, and how many of them the other has
    seen: int
    met: int


def part(a: Side, b: Side) -> Parting:
    """Where they part."""
    found_a, found_b = met(a, b), met(b, a)
    has_a, has_b = cleared(found_a, found_b), cleared(found_b, found_a)
    first, second = first_alone(a, has_a), first_alone(b, has_b)
    first, second = scaled(a, first, b), scaled(b, second, a)
    if first and second:
        first, second = tables(a, has_a, first, b, has_b, second)
    dependent = [one for side in (a, b) for one in side.values if one.record.number in side.of_input]
    found = sum(one.record.number in has for side, has in ((a, has_a), (b, has_b)) for one in side.values
                if one.record.number in side.of_input)  # fmt: skip
    return Parting(first, second, len(dependent), found)


def met(side: Side, other: Side) -> list[tuple[Value, Value]]:
    """The values that the other has too, with those that they are."""
    known: dict[tuple[object, ...], Value | None] = {}
    found = []
    for one in side.values:
        key = (one.value.shape, one.value.tobytes())
        if key not in known:
            known[key] = other.find(one)
        if (its := known[key]) is not None:
            found.append((one, its))
    return found


def cleared(found: list[tuple[Value, Value]], others: list[tuple[Value, Value]]) -> set[float]:
    """The numbers of the values that were found, without those that are cut or put together in another way.

    Such a one is the other's value in axes of other sizes alone, while the other has the same numbers, in axes of
    these sizes, elsewhere: a width that one splits as (heads, features), and the other as (features, heads).
    """
    loose = [one for one, its in others if one.sizes != its.sizes]
    return {
        one.record.number
        for one, its in found
        if one.sizes == its.sizes
        or not any(one.sizes == x.sizes and alike(one.marks, x.marks) and moved(one.value, x.value) for x in loose)
    }


def moved(a: np.ndarray, b: np.ndarray) -> bool:
    """Have they the same numbers, in places that no order of axes tells?"""
    return equal(np.sort(a, axis=None), np.sort(b, axis=None)) and not fits(a, b)


def first_alone(side: Side, has: set[float]) -> Value | None:
    """The first value that the other never has, of which none came that it has, and of which the output came."""
    before = side.above(has)
    alone = [one for one in side.values if one.record.number not in before]
    of_input = [one for one in alone if one.record.number in side.of_input]
    matters = [one for one in of_input if one.record.number in side.to_output]
    return next(iter(matters or of_input or alone), None)


def scaled(side: Side, first: Value | None, other: Side) -> Value | None:
    """Where the factor last changes, if ``first`` is a multiple of a value of the other: it may scale later."""
    if first is None:
        return None
    later = side.below({first.record.number})
    mine = [one for one in side.by_size[first.value.size] if one.record.number in later]
    for its in other.by_size.get(first.value.size, ()):
        if its.record.number not in other.of_input or (before := multiple(first, its)) is None:
            continue
        for one in mine:
            now = multiple(one, its)
            if now is not None and abs(now - before) > 1e-9 * abs(before):
                first, before = one, now
        return first
    return first


def multiple(one: Value, other: Value) -> float | None:
    """The factor by which they differ; None if they do in another way."""
    found = (ratio(x, y) for x, y in layouts(one.value, other.value))
    return next((factor for factor in found if factor is not None), None)


def tables(a: Side, has_a: set[float], first: Value, b: Side, has_b: set[float], second: Value) -> tuple[Value, Value]:
    """The same two; if both come of tables that do not depend on the input and that the other has not, those tables."""
    one, other = next(table(a, has_a, first), None), next(table(b, has_b, second), None)
    return (one, other) if one and other else (first, second)


def table(side: Side, has: set[float], value: Value) -> Iterator[Value]:
    """The values that do not depend on the input, that the other has not, and of which ``value`` came."""
    before, late = side.above({value.record.number}), side.above(has)
    for one in side.values:
        number = one.record.number
        alone = number in before and number not in side.of_input and number not in late
        if alone and np.isfinite(one.value).all() and len(np.unique(one.value)) > 2:
            yield one
