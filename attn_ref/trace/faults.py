"""Where a traced layer parts from a block: one place after another, the layer's own value standing in for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from attn_ref.trace.match import turned
from attn_ref.trace.record import Record
from attn_ref.trace.search import Attempt, Search

#: faults one after the other that are looked for
FAULTS = 3


@dataclass
class Fault:
    """A place where the layer parts from the block."""

    tap: str
    record: Record | None
    #: what the layer has there, in the tap's layout, and what the block has
    theirs: np.ndarray | None
    ours: np.ndarray
    attempt: Attempt


def faults(search: Search, tell: Callable[[str], None] = lambda what: None) -> tuple[Attempt, list[Fault]]:
    """The best run, and the faults one after the other: after each, the reference goes on from the layer's value."""
    stand_ins: dict[str, np.ndarray] = {}
    found: list[Fault] = []
    best = search.best(stand_ins)
    while not best.ok and len(found) < FAULTS:
        tap = search.first(best, stand_ins)
        if tap is None or tap not in best.values:
            found += at_the_end(search, best)
            break
        tell(f"looking for what stands in the place of {tap}")
        options = search.stands_for(best, tap)
        start = best.decisions[: len(best.widths)]
        tried = [(search.best({**stand_ins, tap: value}, 60, start), record, value) for record, value in options]
        ours = np.asarray(best.values[tap].value)
        better = [item for item in tried if item[0].met > best.met]
        if not better:
            last = best.last.number if best.last else -1
            nearest = next((record for record, value in options if record.number > last), None)
            theirs = next((value for record, value in options if record is nearest), None) if nearest else None
            found.append(Fault(tap, nearest or behind(search, last), theirs, ours, best))
            break
        after, record, value = max(better, key=lambda item: item[0].met)
        found.append(Fault(tap, record, value, ours, best))
        stand_ins[tap] = value
        best = after
    return best, found


def at_the_end(search: Search, best: Attempt) -> list[Fault]:
    """The fault where no tap is missing: something comes after all of them, or a step has no value at all."""
    if best.output is not None:
        shape = np.shape(best.output)
        y = next((x for y in search.outputs for x in turned(y, shape)), None)
        record = search.finder.find(y) if y is not None and np.isfinite(y).all() else None
        return [Fault("output", record[0] if record else None, y, np.asarray(best.output), best)]
    if not best.stuck:
        return []
    last, shape = best.last.number if best.last else -1, shape_of(search)
    y = next((x for y in search.outputs for x in turned(y, shape)), None) if shape else None
    title = best.stuck.rpartition(".")[0] or best.stuck
    return [Fault(title, behind(search, last - 1), y, np.zeros(shape or ()), best)]


def shape_of(search: Search) -> tuple[int, ...]:
    """The shape of what the block gives; () where it cannot be told."""
    block = search.block
    weights = {name: np.zeros(param.shape) for name, param in block.params().items()}
    try:
        with np.errstate(all="ignore"):
            return np.shape(block(weights, **search.inputs))
    except (ValueError, FloatingPointError):
        return ()


def behind(search: Search, number: float) -> Record | None:
    """The first value after one that is not the same line's."""
    records = search.trace.records
    return next((record for record in records if record.number > number), None)
