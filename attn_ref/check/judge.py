"""What a mirror gives, held to the reference: values within the tolerance, names and order, and what differs first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn_ref.backend import Run
from attn_ref.check.gaps import Gap
from attn_ref.check.numbers import short
from attn_ref.check.tolerance import OUTPUT, RUNS, SETTLED, Truth, deviation, infinities
from attn_ref.tap import Tapped, transpose_to
from attn_ref.wording import printable

#: kind of a difference -> what it says of the mirror
FAULTS = {
    "value": "a value is farther off than rounding explains",
    "shape": "a value has another shape",
    "dtype": "the output has another dtype",
    "taps": "its taps are not those of the definition",
    "contract": "it breaks a promise besides its values",
    "accepted": "it took what the definition refuses",
    "raised": "it raised an error",
    "ended": "its process ended",
    "timeout": "it took longer than the time of a case",
    "memory": "it took more memory than a worker may",
}


#: those that lie at a tap
AT_A_TAP = ("value", "shape", "taps")


@dataclass
class Outcome:
    """What came of a case. ``worst`` is the largest error in units of its tolerance, at ``worst_at``.

    ``first`` is None when all agree; otherwise the first tap that differs, in order of computation, or a word where the
    difference is at no tap. ``fault`` says what kind of difference it is; empty when all agree.
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
    #: of a layer of another library, which has few of the taps, or none?
    foreign: bool = False
    #: (tap or gradient, error, its unit, within the limit), in the order of comparison
    rows: list[tuple[str, float, float, bool]] = field(default_factory=list)

    @property
    def tap(self) -> str | None:
        """The tap or gradient at which it differs first; None where it agrees and where the difference is at no tap."""
        return self.first if self.fault in AT_A_TAP and self.first != ORDER else None

    def table(self) -> list[dict[str, Any]]:
        """``rows`` as a report has them."""
        return [
            {"tap": name, "error": error, "unit": unit, "ratio": error / unit if unit else error, "ok": ok}
            for name, error, unit, ok in self.rows
        ]

    def differs(self, first: str, fault: str, detail: str) -> None:
        """Enter a difference, if it is the first."""
        if self.first is None:
            self.first, self.fault, self.detail = first, fault, detail


def judge_dtype(outcome: Outcome, dtype: str, gaps: Iterable[Gap], *runs: Run) -> None:
    """What comes out has the layer's dtype, or that of a known gap in force."""
    allowed = {"", dtype, *(gap.returns for gap in gaps if gap.id in outcome.gaps)}
    if strange := [run.dtype for run in runs if run.dtype not in allowed]:
        outcome.worst, outcome.worst_at = float("inf"), OUTPUT
        outcome.differs("dtype", "dtype", f"the layer is of {dtype}, and its output of {strange[0]}")


def raised(outcome: Outcome, error: Exception, where: str = "") -> Outcome:
    """A mirror that raises differs. What it says is one line, cut, and without what a terminal would obey."""
    said = printable(" ".join(str(error).split()), 400)
    outcome.worst, outcome.first = float("inf"), "raised" + where
    outcome.fault = "memory" if isinstance(error, MemoryError) else "raised"
    outcome.detail = f"{type(error).__name__}: {said}{where}"
    return outcome


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
    judge_names(outcome, list(right.taps), list(seen), whole=not where and not outcome.foreign)
    errors = settle(right, seen, limit)
    for name, want in right.taps.items():
        if name not in seen:
            continue
        error, unit, ratio, *said = measured(seen[name], want, right.unit[name], limit, errors.get(name))
        if said[0] == "value" and not np.isfinite(error) and np.isnan(seen[name].value).any():
            error = float("nan")
        outcome.rows.append((name + where, error, unit, ratio <= limit))
        if ratio > outcome.worst:
            outcome.worst, outcome.worst_at = ratio, name
        if ratio > limit:
            outcome.differs(name + SAID.get(where, where), *said)


def measured(
    got: Tapped, want: Tapped, units: np.ndarray, limit: float, errors: np.ndarray | None = None
) -> tuple[float, float, float, str, str]:
    """(error, its unit, error / unit, fault, detail) of the row of a tap that is worst; no detail within ``limit``.

    ``errors``: what ``settle`` gives for the tap, if it can be compared.
    """
    if errors is None:
        if strange := misfit(got, want):
            return float("inf"), float(np.max(units, initial=0.0)), float("inf"), *strange
        errors = deviation(got, want)
    error, unit, ratio = farthest(errors, units)
    return error, unit, ratio, "value", "" if ratio <= limit else off(got, want, error, unit, ratio, limit)


def settle(right: Truth, seen: dict[str, Tapped], limit: float) -> dict[str, np.ndarray]:
    """Run the reference with noise until every error is well within the limit, or there were all the runs.

    Returns tap -> the largest error in every row, of those that can be compared.
    """
    given = {name: want for name, want in right.taps.items() if name in seen and not misfit(seen[name], want)}
    errors = {name: deviation(seen[name], want) for name, want in given.items()}
    while right.runs < RUNS and any(
        limit * SETTLED < farthest(errors[name], right.unit[name])[2] < np.inf for name in given
    ):
        right.learn(right.runs + 1)
    return errors


#: stands in the place of a tap where the taps are those of the definition in another order
ORDER = "order"


def judge_names(outcome: Outcome, wanted: list[str], seen: list[str], *, whole: bool) -> None:
    """Has the mirror the taps that the definition has, ``whole``: all of them, in that order?"""
    missing = [name for name in wanted if name not in seen] if whole else []
    extra = [name for name in seen if name not in wanted]
    if len(missing) == len(extra) == 1:
        outcome.differs(missing[0], "taps", f"the tap is misnamed: the mirror calls it {extra[0]}")
    elif missing:
        also = f", and has {', '.join(extra)}, which the definition has not" if extra else ""
        outcome.differs(missing[0], "taps", f"the mirror has no tap {', '.join(missing)}{also}")
    elif extra:
        outcome.differs(extra[0], "taps", f"the definition has no tap {', '.join(extra)}")
    elif whole and seen != wanted:
        n = next(n for n, (got, want) in enumerate(zip(seen, wanted, strict=True)) if got != want)
        at = f"after {wanted[n - 1]} comes {seen[n]}" if n else f"the first is {seen[n]}"
        outcome.differs(ORDER, "taps", f"they come in another order: {at}, where the definition has {wanted[n]}")


def aligned(got: Tapped, want: Tapped) -> np.ndarray:
    """The mirror's value with its axes in the definition's order."""
    return np.asarray(transpose_to(np.asarray(got.value), got.labels if want.labels else "", want.labels))


def misfit(got: Tapped, want: Tapped) -> tuple[str, str] | None:
    """(fault, detail) where a value cannot be compared with the definition's: other axes, or another shape."""
    if sorted(got.labels.split()) != sorted(want.labels.split()):
        return "taps", f"its axes are called {got.labels!r}, not {want.labels!r}"
    shape, wanted = np.shape(got.value), np.shape(want.value)
    if len(shape) == len(wanted):
        shape = aligned(got, want).shape
    return None if shape == wanted else ("shape", f"has shape {shape}, should have {wanted}")


def off(got: Tapped, want: Tapped, error: float, unit: float, ratio: float, limit: float) -> str:
    """How far a value is off, in words."""
    if np.isfinite(error):
        return said_off(error, unit, ratio, limit)
    values = aligned(got, want)
    return not_finite(values) if np.isnan(values).any() else infinities(got, want)


def not_finite(values: np.ndarray) -> str:
    """How many values are NaN or, where none is, infinite."""
    nan = np.isnan(values)
    wrong, what = (nan, "NaN") if nan.any() else (np.isinf(values), "infinite")
    return f"{what} in {int(np.sum(wrong))} of {values.size} values"


def said_off(error: float, unit: float, ratio: float, limit: float) -> str:
    """An error beside what rounding explains."""
    return f"{short(error)} off where rounding explains {short(unit)} ({short(ratio)} σ; up to {limit:g} σ agrees)"
