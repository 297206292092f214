"""The places where a layer parts from a block, with their lines and reasons, entered into a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from attn_ref.trace.came import same_numbers
from attn_ref.trace.faults import Fault
from attn_ref.trace.formula import described
from attn_ref.trace.lines import first_wrong
from attn_ref.trace.match import ratio, same
from attn_ref.trace.reason import Reason
from attn_ref.trace.reasons import reason
from attn_ref.trace.record import Record, Trace
from attn_ref.trace.search import Search
from attn_ref.trace.steps import OF_ANOTHER
from attn_ref.verbs.verdict import Place, Verdict
from attn_ref.verbs.wired import Wired

#: the taps at which the line of a factor is found with it: scores are scaled early or late
SCORES = ("scores", "biased", "masked")


def explain(verdict: Verdict, search: Search, found: Sequence[Fault], weights: Mapping[str, np.ndarray]) -> None:
    """Enter the places and their reasons."""
    with np.errstate(all="ignore"):  # what is masked by the least number there is overflows in a square
        verdict.places += told(search, found, weights)


def told(search: Search, found: Sequence[Fault], weights: Mapping[str, np.ndarray]) -> Iterator[Place]:
    """Each place with its line and its reason."""
    stand_ins: dict[str, np.ndarray] = {}
    for fault in found:
        why = reason(search, fault, stand_ins, weights)
        record: Record | None = fault.record
        factor = fault.theirs is not None and ratio(fault.theirs, fault.ours) is not None
        if not (factor and fault.tap.rpartition(".")[2] in SCORES) and not (why and why.name == OF_ANOTHER):
            record = first_wrong(search, fault, stand_ins, factor)
        why = why or described(search, fault, record)
        yield Place(fault.tap, record.line if record else None, record.operation if record else "", why)
        if fault.theirs is not None:
            stand_ins[fault.tap] = fault.theirs


def shared(verdict: Verdict, found: Wired) -> None:
    """Two projections that are one value are a difference: the block has weights of its own for each."""
    best, trace = found.best, found.search.trace
    kernels = {name: record for name, record in best.read.items() if name.endswith("kernel")}
    for name, record in kernels.items():
        for other, same_one in kernels.items():
            alike = best.weights[name].shape == best.weights[other].shape
            if name < other and record is same_one and alike and same(best.weights[name], best.weights[other]):
                later = max(name, other, key=list(kernels).index).removesuffix(".kernel")
                first = min(name, other, key=list(kernels).index).removesuffix(".kernel")
                why = Reason("shared", f"{later} is the value that {first} is", f"give {later} its own projection")
                where = again(trace, record) or record
                verdict.ok = False
                verdict.places.append(Place(later, where.line, where.operation, why))


def again(trace: Trace, record: Record) -> Record | None:
    """The first record of the same numbers at another line that did not come of it: it is computed again."""
    came = {record.number}
    for one in trace.records:
        if trace.parents.get(one.number, frozenset()) & came:
            came.add(one.number)
        elif one.number > record.number and one.line != record.line and same_numbers(one, record):
            return one
    return None
