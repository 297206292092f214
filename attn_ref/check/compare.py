"""One case on one engine: does the mirror agree at every tap, and where does it differ first?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn_ref.backend import Backend, Run
from attn_ref.check.cases import Case
from attn_ref.check.gaps import Gap, units
from attn_ref.check.tolerance import LIMIT, OUTPUT, Truth, deviation, infinities, truth
from attn_ref.tap import Tapped

#: kind of a difference -> what it says of the mirror
FAULTS = {
    "value": "a value is farther off than rounding explains",
    "shape": "a value has another shape",
    "dtype": "the output has another dtype",
    "taps": "a tap is missing, unknown, named otherwise or in another order",
    "raised": "it raised an error",
    "ended": "its process ended",
    "timeout": "it took longer than the time of a case",
    "memory": "it took more memory than a worker may",
}


@dataclass
class Outcome:
    """What came of a case. ``worst`` is the largest error in units of its tolerance, at ``worst_at``.

    ``first`` names the first tap that differs, in order of computation; None when all agree.
    ``fault`` says what kind of difference it is; empty when all agree.
    """

    case: str
    worst: float
    worst_at: str
    first: str | None = None
    #: one of ``FAULTS``, or empty
    fault: str = ""
    detail: str = ""
    size: int = 0
    gaps: tuple[str, ...] = ()
    taps: int = 0
    #: was the case at a kink, so that its gradients were not compared?
    kink: bool = False
    #: (tap or gradient, error, its unit, within the limit), in the order of comparison
    rows: list[tuple[str, float, float, bool]] = field(default_factory=list)


def compare(backend: Backend, case: Case, dtype: str, gaps: Iterable[Gap] = (), *, again: bool = True) -> Outcome:
    """Run ``case`` on the backend with taps on and with taps off, and compare with the reference.

    ``again``: the same layer is then called with inputs of other sizes, unless the engine compiles anew for them.
    """
    block, weights, inputs = case.build(), case.weights(dtype), case.inputs(dtype)
    gaps = tuple(gaps)
    right = truth(block, weights, inputs, dtype, units(gaps))
    outcome = Outcome(case.to_json(), 0.0, "", size=case.size())
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
            near = truth(block, weights, inputs, dtype, units(gaps), restart=stepped.taps)
            judge(outcome, near, seen, LIMIT[dtype], RESTARTED)
    except Exception as error:  # whatever a framework throws is a finding about it, not the end of the check
        return raised(outcome, error)
    outcome.taps = len(seen)
    if again and outcome.first is None and backend.engine not in backend.shapes:
        return call_again(outcome, backend, layer, case, dtype, gaps)
    return outcome


def call_again(outcome: Outcome, backend: Backend, layer: Any, case: Case, dtype: str, gaps: Iterable[Gap]) -> Outcome:
    """Call the same layer once more with inputs of other sizes: it may have kept nothing of the first call.

    Where a new layer differs on them too, that is the finding.
    """
    other = case.another().within(dtype)
    inputs, weights = other.inputs(dtype), other.weights(dtype)
    right = truth(other.build(), weights, inputs, dtype, units(gaps))
    try:
        output = backend.run(backend.load(layer, weights), inputs, observe=False).output
        judge(outcome, right, {OUTPUT: Tapped(output, "")}, LIMIT[dtype], ANOTHER)
    except Exception as error:
        raised(outcome, error, ANOTHER)
    if outcome.first and (plain := compare(backend, other, dtype, gaps, again=False)).first:
        return plain
    return outcome


def judge_dtype(outcome: Outcome, dtype: str, gaps: Iterable[Gap], *runs: Run) -> None:
    """What comes out has the layer's dtype, or that of a known gap in force."""
    allowed = {"", dtype, *(gap.returns for gap in gaps if gap.id in outcome.gaps)}
    if strange := [run.dtype for run in runs if run.dtype not in allowed]:
        outcome.worst, outcome.worst_at, outcome.first = float("inf"), OUTPUT, "dtype"
        outcome.detail = f"the layer is of {dtype}, and its output of {strange[0]}"


def raised(outcome: Outcome, error: Exception, where: str = "") -> Outcome:
    """A mirror that raises differs."""
    said = " ".join(str(error).split())[:400]
    outcome.worst, outcome.first, outcome.detail = float("inf"), "raised" + where, f"{type(error).__name__}: {said}"
    outcome.fault = "memory" if isinstance(error, MemoryError) else "raised"
    return outcome


#: where a value comes from while nothing listens, in a second call, and below a known gap
FUSED, ANOTHER, RESTARTED = " (taps off)", " (second call, other sizes)", " (from the engine's values before it)"
#: what it means that only that one differs
FUSED_ONLY = " (taps off, so in the fused path only)"
SAID = {FUSED: FUSED_ONLY}


def farthest(errors: np.ndarray, units: np.ndarray) -> tuple[float, float, float]:
    """(error, unit, error / unit) of the row that is worst; zeros where there is none."""
    if np.shape(errors) != np.shape(units):
        return float("inf"), float(np.max(units, initial=0.0)), float("inf")
    with np.errstate(over="ignore"):  # the unit of a row of zeros is the smallest normal number
        ratios = np.asarray(errors / units)
    if not ratios.size:
        return 0.0, float("inf"), 0.0
    at = np.unravel_index(np.argmax(ratios), ratios.shape)
    return float(errors[at]), float(units[at]), float(ratios[at])


def judge(outcome: Outcome, right: Truth, seen: dict[str, Tapped], limit: float, where: str = "") -> None:
    """Enter the errors of ``seen`` into ``outcome``: the worst, and the first beyond the limit."""
    if not where and (missing := [name for name in right.taps if name not in seen]):
        outcome.first, outcome.detail = missing[0], f"the mirror has no tap {', '.join(missing)}"
    if extra := [name for name in seen if name not in right.taps]:
        outcome.first, outcome.detail = extra[0], f"the reference has no tap {', '.join(extra)}"
    if not where and outcome.first is None and list(seen) != list(right.taps):
        outcome.first, outcome.detail = "order", f"the taps come as {', '.join(seen)}"
    for name, want in right.taps.items():
        if name not in seen:
            continue
        if sorted(seen[name].labels.split()) != sorted(want.labels.split()):
            outcome.worst, outcome.worst_at = float("inf"), name
            outcome.first = outcome.first or name
            outcome.detail = outcome.detail or f"its axes are called {seen[name].labels!r}, not {want.labels!r}"
            continue
        error, unit, ratio = farthest(deviation(seen[name], want), right.unit[name])
        outcome.rows.append((name + where, error, unit, ratio <= limit))
        if ratio > outcome.worst:
            outcome.worst, outcome.worst_at = ratio, name
        if ratio > limit and outcome.first is None:
            outcome.first = name + SAID.get(where, where)
            said = f"error {error:.2e} is {ratio:.3g} times its unit {unit:.2e}; {limit:g} is allowed"
            outcome.detail = infinities(seen[name], want) or said
