"""The places where a layer parts from a block, with their lines and reasons, entered into a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attn_ref.trace.faults import Fault
from attn_ref.trace.lines import first_wrong
from attn_ref.trace.match import same
from attn_ref.trace.reason import Reason
from attn_ref.trace.reasons import reason
from attn_ref.trace.record import Record
from attn_ref.trace.search import Attempt, Search
from attn_ref.verbs.verdict import Place, Verdict


#: reasons whose line is found with them: that of a factor
LOCATED = ("scale", "factor")


def explain(verdict: Verdict, search: Search, found: Sequence[Fault], weights: Mapping[str, np.ndarray]) -> None:
    """Enter the places and their reasons."""
    stand_ins: dict[str, np.ndarray] = {}
    for fault in found:
        why = reason(search, fault, stand_ins, weights)
        record: Record | None = fault.record
        if why is None or why.name not in LOCATED:
            record = first_wrong(search, fault, stand_ins, why)
        verdict.places.append(
            Place(fault.tap, record.line if record else None, record.operation if record else "", why)
        )
        if fault.theirs is not None:
            stand_ins[fault.tap] = fault.theirs


def shared(verdict: Verdict, best: Attempt) -> None:
    """Two projections that are one value are a difference: the block has weights of its own for each."""
    kernels = {name: record for name, record in best.read.items() if name.endswith("kernel")}
    for name, record in kernels.items():
        for other, same_one in kernels.items():
            alike = best.weights[name].shape == best.weights[other].shape
            if name < other and record is same_one and alike and same(best.weights[name], best.weights[other]):
                later = max(name, other, key=list(kernels).index).removesuffix(".kernel")
                first = min(name, other, key=list(kernels).index).removesuffix(".kernel")
                why = Reason("shared", f"{later} is the value that {first} is", f"give {later} its own projection")
                verdict.ok = False
                verdict.places.append(Place(later, record.line, record.operation, why))
