"""Two traces against one another: which values both have, and the first that only one has and that matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attn_ref.trace.flow import INPUT
from attn_ref.trace.loops import stacked
from attn_ref.trace.match import alike, laid, marks, orders, same
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


class Side:
    """The values of one trace that say something, by size, and which came of which."""

    def __init__(self, trace: Trace, outputs: Sequence[np.ndarray]) -> None:
        self.trace = trace
        self.values: list[Value] = []
        lines: dict[object, set[float]] = {}
        for record in trace.records:
            lines.setdefault((record.line, record.operation, record.value.shape), set()).add(record.number)
        for record in [*trace.records, *stacked(trace.records)]:
            if not says_something(record.value):
                continue
            shape = record.value.shape
            group = () if record.number in trace.parents else lines.get((record.line, record.operation, shape[1:]), ())
            value = tame(record.value)
            self.values.append(Value(record, value, marks(value), frozenset(group)))
        self.values.sort(key=lambda one: one.record.number)
        self.by_size: dict[int, list[Value]] = {}
        for one in self.values:
            self.by_size.setdefault(one.value.size, []).append(one)
        self.of_input = self.below({INPUT})
        self.to_output = self.above({one.record.number for one in self.values if is_one_of(one.value, outputs)})

    def find(self, wanted: Value) -> Value | None:
        """The first value that is ``wanted`` in some order of axes."""
        for one in self.by_size.get(wanted.value.size, ()):
            if alike(one.marks, wanted.marks) and fits(one.value, wanted.value):
                return one
        return None

    def parents(self) -> Iterator[tuple[float, frozenset[float]]]:
        """(a record, those of which it came) in order; of a loop's values together, those values."""
        every: dict[float, frozenset[float]] = {n: frozenset(came) for n, came in self.trace.parents.items()}
        every |= {one.record.number: one.group for one in self.values if one.group}
        yield from sorted(every.items())

    def below(self, start: set[float]) -> set[float]:
        """``start``, and the records that came of it."""
        found = set(start)
        for number, came in self.parents():
            if came & found:
                found.add(number)
        return found

    def above(self, end: set[float]) -> set[float]:
        """``end``, and the records of which it came."""
        found = set(end)
        for number, came in reversed([*self.parents()]):
            if number in found:
                found |= came
        return found


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
    """Is one the other, in some order of axes and a reshape? Axes of one size stay in their order."""
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
    """Do axes of one size stay in their order?"""
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
    has_a, has_b = (met(one, other) for one, other in ((a, b), (b, a)))
    first, second = first_alone(a, has_a), first_alone(b, has_b)
    if first and second:
        first, second = tables(a, has_a, first, b, has_b, second)
    dependent = [one for side in (a, b) for one in side.values if one.record.number in side.of_input]
    found = sum(one.record.number in has for side, has in ((a, has_a), (b, has_b)) for one in side.values
                if one.record.number in side.of_input)  # fmt: skip
    return Parting(first, second, len(dependent), found)


def met(side: Side, other: Side) -> set[float]:
    """The numbers of the records that the other has too."""
    known: dict[tuple[object, ...], bool] = {}
    found = set()
    for one in side.values:
        key = (one.value.shape, one.value.tobytes())
        if key not in known:
            known[key] = other.find(one) is not None
        if known[key]:
            found.add(one.record.number)
    return found


def first_alone(side: Side, has: set[float]) -> Value | None:
    """The first value that the other never has, of which none came that it has, and of which the output came."""
    before = side.above(has)
    alone = [one for one in side.values if one.record.number not in before]
    of_input = [one for one in alone if one.record.number in side.of_input]
    matters = [one for one in of_input if one.record.number in side.to_output]
    return next(iter(matters or of_input or alone), None)


def tables(
    a: Side, has_a: set[float], first: Value, b: Side, has_b: set[float], second: Value
) -> tuple[Value, Value]:
    """The same two; if both come of tables of one size that do not depend on the input and differ, those tables."""
    for one in table(a, has_a, first):
        for other in table(b, has_b, second):
            if one.value.size == other.value.size:
                return one, other
    return first, second


def table(side: Side, has: set[float], value: Value) -> list[Value]:
    """The values that do not depend on the input, that the other has not, and of which ``value`` came."""
    before, late = side.above({value.record.number}), side.above(has)
    return [
        one for one in side.values
        if one.record.number in before and one.record.number not in side.of_input | late
        and np.isfinite(one.value).all() and len(np.unique(one.value)) > 2
    ]  # fmt: skip
