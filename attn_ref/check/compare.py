"""One case on one engine: does the mirror agree at every tap, and where does it differ first?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from attn_ref.check.cases import Case
from attn_ref.check.gaps import Gap, units
from attn_ref.check.judge import ANOTHER, FUSED, RESTARTED, Outcome, judge, judge_dtype, raised
from attn_ref.check.tolerance import LIMIT, OUTPUT, Truth
from attn_ref.implementation import Implementation
from attn_ref.tap import Tapped, is_keep


def compare(
    backend: Implementation, case: Case, dtype: str, gaps: Iterable[Gap] = (), *, again: bool = True
) -> Outcome:
    """Run ``case`` on the backend with taps on and with taps off, and compare with the reference.

    ``again``: the same layer is then called with inputs of other sizes, unless the engine compiles anew for them.
    """
    block, weights, inputs = case.build(), case.weights(dtype), case.inputs(dtype)
    gaps = tuple(gaps)
    right = Truth(block, weights, inputs, dtype, units(gaps), runs=0)
    outcome = Outcome(case.to_json(), 0.0, "", size=case.size(), foreign=backend.peer is not None)
    outcome.gaps = tuple(gap.id for gap in gaps if gap.op in right.primitives)
    try:
        layer = backend.load(backend.build(block, dtype), weights)
        stepped = backend.run(layer, inputs, observe=True)
        direct = backend.run(layer, inputs, observe=False)
        seen = {**stepped.taps, OUTPUT: Tapped(stepped.output, "")}
        judge(outcome, right, seen, LIMIT[dtype])
        if outcome.first is None:
            judge(outcome, right, {OUTPUT: Tapped(direct.output, "")}, LIMIT[dtype], FUSED)
        if outcome.first is None:
            judge_dtype(outcome, dtype, gaps, stepped, direct)
        if outcome.first is None and outcome.gaps:  # what a gap left hides nothing that comes after it
            near = Truth(block, weights, inputs, dtype, units(gaps), restart=stepped.taps, runs=0)
            judge(outcome, near, seen, LIMIT[dtype], RESTARTED)
        if outcome.first is None and case.seed % OFTEN == 1 and backend.engine not in backend.shapes:
            judge_trained(outcome, backend, layer, inputs, right, LIMIT[dtype])
    except Exception as error:  # whatever a framework throws is a finding about it, not the end of the check
        return raised(outcome, error)
    outcome.taps = len(seen)
    if not again or outcome.first is not None or backend.engine in backend.shapes:
        return outcome
    outcome = call_again(outcome, backend, layer, case, dtype, gaps)
    if outcome.first is None and case.seed % OFTEN == 0:
        call_often(outcome, backend, layer, case, dtype, gaps, right)
    return outcome


def judge_trained(
    outcome: Outcome, backend: Implementation, layer: Any, inputs: dict[str, np.ndarray], right: Truth, limit: float
) -> None:
    """A block that drops nothing and has no batch norm gives in training what it always gives, with taps off too."""
    if "standardised" in right.primitives or any(map(is_keep, right.taps)):
        return
    run = backend.run(layer, inputs, observe=False, training=True)
    judge(outcome, right, {OUTPUT: Tapped(run.output, "")}, limit, TRAINED)


def call_often(
    outcome: Outcome, backend: Implementation, layer: Any, case: Case, dtype: str, gaps: Iterable[Gap], right: Truth
) -> None:
    """Call the same layer with other values of the same sizes, then as at first: it may have kept nothing of either.

    With taps off, then on; in every second case that does this the other way round.
    """
    listens = case.seed // OFTEN % 2 == 0
    other = replace(case, seed=case.seed + 1)
    weights, inputs = other.weights(dtype), other.inputs(dtype)
    if backend.outside(other.build(), inputs):
        return
    wanted = Truth(other.build(), weights, inputs, dtype, units(gaps), runs=0)
    try:
        judge_call(outcome, backend, backend.load(layer, weights), inputs, wanted, LIMIT[dtype], SAME_SIZES, listens)
        layer, inputs = backend.load(layer, case.weights(dtype)), case.inputs(dtype)
        judge_call(outcome, backend, layer, inputs, right, LIMIT[dtype], ONCE_MORE, not listens)
    except Exception as error:
        raised(outcome, error, ONCE_MORE)


def judge_call(
    outcome: Outcome, backend: Implementation, layer: Any, inputs: dict[str, np.ndarray], right: Truth, limit: float,
    where: str, listens: bool,
) -> None:  # fmt: skip
    """One more call, with taps on or off. Where it differs with taps off, one with taps on may tell the place."""
    run = backend.run(layer, inputs, observe=listens)
    seen = {**run.taps, OUTPUT: Tapped(run.output, "")}
    if not listens:
        judge(trial := Outcome(outcome.case, 0.0, ""), right, seen, limit, where)
        if trial.first:
            run = backend.run(layer, inputs, observe=True)
            judge(outcome, right, {**run.taps, OUTPUT: Tapped(run.output, "")}, limit, where)
    judge(outcome, right, seen, limit, where)


def call_again(
    outcome: Outcome, backend: Implementation, layer: Any, case: Case, dtype: str, gaps: Iterable[Gap]
) -> Outcome:
    """Call the same layer once more with inputs of other sizes: it may have kept nothing of the first call.

    Where a new layer differs on them too, that is the finding.
    """
    other = case.another().within(dtype)
    inputs, weights = other.inputs(dtype), other.weights(dtype)
    if backend.outside(other.build(), inputs):
        return outcome
    right = Truth(other.build(), weights, inputs, dtype, units(gaps), runs=0)
    try:
        run = backend.run(backend.load(layer, weights), inputs, observe=bool(case.seed % 2))
        judge(outcome, right, {**run.taps, OUTPUT: Tapped(run.output, "")}, LIMIT[dtype], ANOTHER)
    except Exception as error:
        raised(outcome, error, ANOTHER)
    if outcome.first and (plain := compare(backend, other, dtype, gaps, again=False)).first:
        return plain
    return outcome


#: where a value comes from while nothing listens, in a second call, and below a known gap
SAME_SIZES, ONCE_MORE = " (a later call, same sizes)", " (a later call, as at first)"
#: the same in training
TRAINED = " (taps off, in training)"
#: one case in so many calls its layer often; plain and dense cases come in turn, so it is odd
OFTEN = 3
