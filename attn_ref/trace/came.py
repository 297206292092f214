"""What came of what in a trace, and which values are others in another order."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from attn_ref.trace.record import Record, Trace

#: number of a record -> those of the records of which it came
Parents = Mapping[float, Collection[float]]


def above(parents: Parents, end: Collection[float]) -> set[float]:
    """``end``, and the records of which it came."""
    found, queue = set(end), [*end]
    while queue:
        for number in parents.get(queue.pop(), ()):
            if number not in found:
                found.add(number)
                queue.append(number)
    return found


def below(parents: Parents, start: Collection[float]) -> set[float]:
    """``start``, and the records that came of it."""
    found = set(start)
    for number, came in sorted(parents.items()):
        if not found.isdisjoint(came):
            found.add(number)
    return found


def taker(trace: Trace, record: Record) -> Record | None:
    """The first value that is computed of a record's, and is more than its numbers in another order."""
    group = {record.number}
    for one in trace.records:
        if same_numbers(one, record):
            group.add(one.number)
        elif trace.parents.get(one.number, frozenset()) & group:
            return one
    return None


def same_numbers(one: Record, other: Record) -> bool:
    """Have two records the same numbers, in whatever order?"""
    return one.value.size == other.value.size and np.array_equal(np.sort(one.value, None), np.sort(other.value, None))
