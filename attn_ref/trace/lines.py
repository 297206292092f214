"""The line at which the first wrong number comes up, of those between the last right value and the place.

A place is a tap, and between two taps a layer may take several steps. The first value on the way to the place that is
not right, as ``right`` has it, is where it goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from attn_ref.trace.came import above, below, same_numbers
from attn_ref.trace.faults import Fault
from attn_ref.trace.flow import INPUT
from attn_ref.trace.match import same
from attn_ref.trace.record import Record
from attn_ref.trace.right import Right, floats
from attn_ref.trace.search import Search
from attn_ref.trace.steps import before

#: operations that leave the numbers as they are
SAME = (
    "view", "reshape", "_unsafe_view", "_reshape_alias", "transpose", "permute", "t", "swapaxes", "moveaxis", "expand",
    "clone", "contiguous", "squeeze", "unsqueeze", "expand_dims", "broadcast_in_dim", "broadcast_to", "copy", "pjit",
    "assigned", "identity", "convert_element_type", "_to_copy", "alias", "detach", "flatten", "ravel", "tile", "repeat",
)  # fmt: skip
#: values that are looked at on the way to a place
MOST = 400


def first_wrong(
    search: Search, fault: Fault, stand_ins: Mapping[str, np.ndarray], factor: bool = False
) -> Record | None:
    """The record of the first wrong value on the way to a place; that of the place where none is found.

    ``factor``: the place has a multiple of what it should have, so that no multiple is right.
    """
    record, theirs = fault.record, fault.theirs
    if record is None or not search.trace.parents:
        return record
    own = Right(search, fault, stand_ins)
    stuck = fault.tap not in fault.attempt.values or theirs is None
    if not stuck:
        for one in between(search, fault, record):
            if not own.has(one, multiples=not factor):
                return one
    if not stuck and (still := idle(search, fault, record)):
        return still
    for one in after(search, fault):  # a step is left out, or has no value at all
        if not own.has(one, multiples=False):
            return one if one.line or stuck else record
    return record


def idle(search: Search, fault: Fault, record: Record) -> Record | None:
    """The last operation that leaves a right value as it is, where a step is left out; None where there is none."""
    theirs = fault.theirs
    assert theirs is not None
    right = [*before(fault).values(), *floats(search)]
    if not any(x.shape == theirs.shape and same(x, theirs) for x in right):
        return None
    group, found = {record.number}, None
    for one in search.trace.records:
        if one.number != record.number and same_numbers(one, record):
            came = search.trace.parents.get(one.number, frozenset()) & group
            found = one if came and one.operation.partition(" ")[0].lower() not in SAME and one.line else found
            group.add(one.number)
    return found


def after(search: Search, fault: Fault) -> Iterator[Record]:
    """The values that came of right ones, and of which no right one came."""
    met = {r.number for r in fault.attempt.taps.values() if r is not None}
    wanted = below(search.trace.parents, met or {INPUT}) - above(search.trace.parents, met)
    yield from (r for r in search.trace.records if r.number in wanted)


def between(search: Search, fault: Fault, record: Record) -> Iterator[Record]:
    """The values of which a record came, and of which no right value did, the first of them first; then itself."""
    trace = search.trace
    tapped = [r for r in fault.attempt.taps.values() if r is not None and r.number < record.number]
    done = above(trace.parents, {r.number for r in tapped})
    wanted = above(trace.parents, {record.number}) - done
    found = [r for r in trace.records if r.number in wanted and r.number <= record.number]
    yield from found[-MOST:]
