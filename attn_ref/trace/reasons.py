"""Why a value differs: what a layer must do otherwise to have it. Each reason is proven by computing it.

A reason is a trap of the catalogue, an option of the block with another value, or another change of the value at the
tap; it is the reason only if it gives the layer's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from attn_ref.trace.faults import Fault
from attn_ref.trace.known import Given, known_elsewhere, known_trap, of_option, told
from attn_ref.trace.match import same
from attn_ref.trace.options import other_options, owner, phrased
from attn_ref.trace.reason import Reason
from attn_ref.trace.search import Search
from attn_ref.trace.steps import before, changed_values, locate, misread


def reason(
    search: Search, fault: Fault, stand_ins: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> Reason | None:
    """The first that gives the layer's value, if any does. ``weights``: those that were found, maybe not all."""
    theirs = fault.theirs
    if theirs is None:
        return misread(search, fault)
    locate(search, fault)
    given = Given(search.block, {**weights, **fault.attempt.weights}, search.inputs, stand_ins)
    options = (o for o, there in other_options(search, fault, stand_ins, weights) if is_it(there, theirs))
    changes = next(options, ())
    trap, where = known_trap(given, fault.tap, theirs) or (None, fault.tap)
    if trap is None and len(changes) == 1:
        ((name, value),) = changes
        trap = of_option(owner(search.block, name), name.rpartition(".")[2], value)
    if trap is not None:
        moved(search, fault, where)
        return told(trap, changes)
    other = next((found for found, value in changed_values(search, fault) if is_it(value, theirs)), None)
    if other and other.name == "scale" and len(changes) == 1 and type(changes[0][1]) is float:
        return replace(other, changes=changes)  # what the factor is says more than the number
    return (
        phrased(search.block, changes)
        if changes
        else other or elsewhere(given, search, fault) or misread(search, fault)
    )


def moved(search: Search, fault: Fault, tap: str) -> None:
    """Put the place to an earlier tap, at which a trap acts: there the layer goes on with what it had before."""
    last = None
    for name, record in fault.attempt.taps.items():
        if name == tap:
            break
        last = record or last
    if tap != fault.tap and last is not None:
        fault.tap, fault.record, fault.theirs = tap, last, last.value


def elsewhere(given: Given, search: Search, fault: Fault) -> Reason | None:
    """A trap that another value of the layer shows, which may stand in the place too.

    Where nothing behind the place agrees, the first of those that fit was taken. Values that the reference has as well
    are none.
    """
    if fault.tap not in fault.attempt.values:
        return None
    ours = [*before(fault).values(), *map(np.asarray, search.inputs.values())]
    others = [
        (record, value)
        for record, value in search.stands_for(fault.attempt, fault.tap)
        if not any(is_it(mine, value) for mine in ours)
    ]
    found = known_elsewhere(given, fault.tap, [value for _, value in others])
    if found is None:
        return None
    fault.record, fault.theirs = others[found[1]]
    return told(found[0])


def is_it(value: np.ndarray | None, theirs: np.ndarray) -> bool:
    """Is it the layer's value?"""
    return value is not None and value.shape == theirs.shape and same(theirs, value)
