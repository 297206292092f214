"""Gradients, and training: the adjoint identity ⟨u, J v⟩ = ⟨Jᵀu, v⟩, for every parameter, input and tap by itself.

J·v comes from the reference by complex step, Jᵀu from the framework's own differentiation, with one seeded cotangent u
and one direction v for each name, so that a wrong gradient is named. The gradient at a tap is the gradient to a zero
added there. A gradient flows backwards, so the tap nearest to the output whose gradient is wrong is the diagnosis: the
fault lies after it, and before the next tap.

Agreement: |⟨u, Jv⟩ − ⟨g, v⟩| ≤ C · (σ + ε·Σ|g·v| + ε·Σ|u·Jv| + the smallest normal number), where ε is the unit
roundoff and σ the largest Σ|Δ(Jv)·u| over K runs with noise (see ``tolerance``). σ takes K evaluations for each name;
where the error is within the other terms alone it is not asked for, which can only make a figure larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import numpy as np

from attn_ref import mode
from attn_ref.block import Block
from attn_ref.check.cases import Case
from attn_ref.check.gaps import BACKWARD, DELTA, FLASH, OFFSET, Gap, units
from attn_ref.check.judge import FUSED, FUSED_ONLY, Outcome, judge, judge_dtype, not_finite, raised, said_off
from attn_ref.check.native import NATIVE, judge_native
from attn_ref.check.tolerance import LIMIT, OUTPUT, ROUNDING, RUNS, MovedTaps, Truth, moved, wide
from attn_ref.derivative import LEAST, STEP, jvp
from attn_ref.implementation import Implementation
from attn_ref.ops.primitive import Noise, kinks, noisy
from attn_ref.tap import Tapped, is_keep, is_statistic, record, transpose_to
from attn_ref.weights import rounded, uniform

RATE = 0.25
#: the runs with noise before a gradient is said to differ: where two moves cancel by chance, eight may all do so
DOUBTED = 64


def keep_masks(block: Block, case: Case, weights: Any, inputs: Any, dtype: str) -> dict[str, Tapped]:
    """For every dropout of the block a seeded keep, 0 or 1 / (1 − 0.25), under its tap's name."""
    with record() as taps:
        block(weights, **inputs)
    return {
        name: Tapped(rounded((uniform(value.shape, case.seed, name) > 2 * RATE - 1) / (1 - RATE), dtype), labels)
        for name, (value, labels) in taps.items()
        if is_keep(name)
    }


def trains(case: Case) -> bool:
    """Has the block a dropout that drops anything, or a batch norm? Otherwise training is no other than evaluation."""
    try:
        with mode.training(), record() as taps:
            case.build()(case.weights(), **case.inputs())
    except ValueError:  # a batch norm refuses
        return True
    return any(is_keep(name) or is_statistic(name) for name in taps)


def compare_gradients(
    backend: Implementation, case: Case, dtype: str, gaps: Iterable[Gap] = (), *, training: bool = False
) -> Outcome:
    """Run ``case`` forwards and backwards; in training with the same keep masks on both sides, then with the engine's.

    At a kink (see ``ops.primitive.kink``) values alone are compared. What the definition refuses the mirror must too.
    """
    with mode.training(training):
        return _compare_gradients(backend, case, dtype, tuple(gaps), training)


def _compare_gradients(
    backend: Implementation, case: Case, dtype: str, gaps: tuple[Gap, ...], training: bool
) -> Outcome:
    block = case.build()
    weights, inputs = case.weights(dtype), case.inputs(dtype)
    w, x = wide(weights), wide(inputs)
    try:
        with kinks(ROUNDING[dtype][0]) as found:
            block(w, **x)
    except ValueError as refusal:
        return refused(backend, case, dtype, training, refusal)
    masks = keep_masks(block, case, w, x, dtype) if training else {}
    right = Truth(block, weights, inputs, dtype, units(gaps), masks, runs=0)
    outcome = Outcome(case.to_json(), 0.0, "", size=case.size(), foreign=backend.peer is not None)
    outcome.gaps = tuple(gap.id for gap in gaps if gap.op in right.primitives)
    cotangent = rounded(uniform(right.taps[OUTPUT].value.shape, case.seed, "cotangent"), dtype)
    try:
        layer = backend.load(backend.build(block, dtype), weights)
        run = backend.gradients(layer, inputs, cotangent, replace=masks, observe=True, training=training)
        direct = None if masks else backend.gradients(layer, inputs, cotangent, observe=False, training=training)
    except Exception as error:  # whatever a framework throws is a finding about it, not the end of the check
        return raised(outcome, error)
    judge(outcome, right, {**run.taps, OUTPUT: Tapped(run.output, "")}, LIMIT[dtype])
    if outcome.first is None:
        judge_dtype(outcome, dtype, gaps, run, *([direct] if direct else []))
    if training and outcome.first is None and backend.engine not in backend.shapes:
        try:
            judge_native(outcome, backend, case, dtype, gaps)
        except Exception as error:  # as above
            return raised(outcome, error, NATIVE)
    if any(found):
        outcome.kink = True
        return outcome
    heard = run.taps if backend.peer else right.taps
    taps = {n: v for n, v in reversed(right.taps.items()) if n in heard and n != OUTPUT and not is_keep(n)}
    reals = {name: Tapped(value, "") for name, value in x.items() if value.dtype.kind == "f"}
    trained = {name for name, param in block.params().items() if param.trainable}
    parameters = {name: Tapped(value, "") for name, value in w.items() if name in trained}
    for kind, values in (("tap", taps), ("input", reals), ("parameter", parameters)):
        for name, (value, labels) in values.items():
            title = f"{kind} {name}"
            direction = Tapped(uniform(value.shape, case.seed, "direction", title), labels)
            adjoint = Adjoint(block, w, x, (kind, name, direction), cotangent, dtype, units(gaps), masks)
            gradient = run.gradients.get(title)
            if kind == "tap" and gradient is not None and name in run.taps:  # it is laid out as the mirror's tap is
                gradient = transpose_to(gradient, run.taps[name].labels if labels else "", labels)
            enter(outcome, title, adjoint, gradient, LIMIT[dtype])
            if direct is not None and kind != "tap" and outcome.first is None:
                fused = adjoint.granted(units(gaps, ("", BACKWARD)))
                enter(outcome, title, fused, direct.gradients.get(title), LIMIT[dtype], FUSED)
                outcome.gaps += tuple(g.id for g in gaps if g.op in fused.used and g.id not in outcome.gaps)
    return outcome


def in_order(tapped: Tapped, labels: str) -> np.ndarray | None:
    """The array with its axes in the order of ``labels``; None where they are called otherwise, which is a finding."""
    return transpose_to(*tapped, labels) if sorted(tapped.labels.split()) == sorted(labels.split()) else None


def refused(backend: Implementation, case: Case, dtype: str, training: bool, refusal: ValueError) -> Outcome:
    """The outcome where the definition refuses a case: the mirror refuses it too, or differs."""
    outcome = Outcome(case.to_json(), 0.0, "", size=case.size())
    try:
        layer = backend.load(backend.build(case.build(), dtype), case.weights(dtype))
        backend.run(layer, case.inputs(dtype), training=training)
    except ValueError:
        return outcome
    except Exception as error:  # whatever a framework throws is a finding about it, not the end of the check
        return raised(outcome, error)
    outcome.worst = np.inf
    outcome.differs("accepted", "accepted", str(refusal))
    return outcome


#: gaps that show in backward passes alone
HIDDEN = {FLASH, DELTA, OFFSET}


class BackwardTaps(MovedTaps):
    """Moves tangents as backward passes of fused calls do, transposed; values are those of the forward pass.

    That of a flash kernel restores the weights of a row as exp(score − log Σ exp), which is kept in float32 or better
    and rounded at its size: all tangents of the row move by one factor. And from the gradients of a row's scores it
    takes their mean as Σ output · its gradient, each product rounded: the tangents that all scores of a row have in
    common, which a softmax cancels, remain by one rounding of the output. That of a layer norm in a lower precision
    rounds the gradient that comes in.
    """

    #: what was tapped last; of the weights tapped last, in every row: the size of log Σ exp, the mean of the tangents
    before: Any = None
    size: Any = None
    common: Any = None

    def __call__(self, name: str, value: Any, labels: str) -> Any:
        value = super().__call__(name, value, labels)
        if name == "weights" and labels.endswith("t s") and np.shape(self.before) == value.shape:
            w = np.where(value.real > 0, value.real, 1.0)
            # a weight is exp(score − log Σ exp), so any of a row that is not 0 tells it
            logs = np.where(value.real > 0, np.abs(self.before.real - np.log(w)), 0.0)
            self.size = np.max(logs, axis=-1, keepdims=True, initial=0.0)
            self.common = np.sum(value.real * np.imag(self.before), axis=-1, keepdims=True)
        elif name == "context" and np.iscomplexobj(value) and self.size is not None:
            size, common = (x.reshape(*value.shape[:-1], 1) for x in (self.size, self.common))
            slope = value.imag
            if FLASH in self.noise.gaps:
                unit = min(self.noise.unit, ROUNDING["float32"][0])
                slope = slope + unit * self.signed(size) * value.imag
            if DELTA in self.noise.gaps:
                slope = slope + self.noise.unit * self.signed(value.real) * common
            self.noise.used |= {FLASH, DELTA} & self.noise.gaps.keys()
            value = value.real + 1j * slope
        elif name == "shifted" and np.iscomplexobj(value) and OFFSET in self.noise.gaps:
            value = value + 1j * self.noise.gaps[OFFSET] * self.signed(value.imag)
            self.noise.used.add(OFFSET)
        self.before = value
        return value

    def signed(self, size: Any) -> Any:
        """± each of ``size``."""
        return (2.0 * self.noise.bits.integers(0, 2, np.shape(size)) - 1.0) * size


class Adjoint:
    """⟨u, J v⟩ of the reference along one direction, and how far rounding moves it."""

    def __init__(
        self, block: Block, w: Any, x: Any, along: tuple[str, str, Tapped], u: np.ndarray, dtype: str,
        gaps: Mapping[str, float], masks: Mapping[str, Tapped],
    ) -> None:  # fmt: skip
        self.block, self.w, self.x, self.along, self.u = block, w, x, along, u.astype(np.float64)
        self.dtype, self.gaps, self.masks = dtype, gaps, masks
        self.tangent = self.evaluate(w, x)
        self.value = float(np.sum(self.u * self.tangent))
        self.used: set[str] = set()
        self.runs, self.largest = 0, 0.0

    def evaluate(self, w: Any, x: Any, **listening: Any) -> np.ndarray:
        """J·v at these weights and inputs."""
        kind, name, v = self.along
        which = {"tap": "dtaps", "input": "dx", "parameter": "dw"}[kind]
        along: dict[str, Any] = {which: {name: v if kind == "tap" else v.value}}
        return jvp(self.block, w, x, replace=self.masks, **along, **listening)[1]

    def granted(self, gaps: Mapping[str, float]) -> Adjoint:
        """The same under other known gaps."""
        other = copy(self)
        if other.gaps != gaps:
            other.gaps, other.used, other.runs, other.largest = gaps, set(), 0, 0.0
        return other

    def sigma(self, enough: float, runs: int = RUNS) -> float:
        """The largest Σ|Δ(Jv)·u| over so many runs with noise, or over as many as it takes to come to ``enough``."""
        while self.runs < runs and self.largest < enough:
            unit, tiny = ROUNDING[self.dtype]
            noise = Noise(unit, self.runs, self.gaps, tiny)
            with noisy(noise):
                listener = BackwardTaps if HIDDEN & self.gaps.keys() else MovedTaps
                tangent = self.evaluate(moved(noise, self.w), moved(noise, self.x), listener=listener, noise=noise)
            moved_by = float(np.sum(np.abs((tangent - self.tangent) * self.u))) + noise.lost / STEP
            self.largest = max(self.largest, moved_by)
            self.runs += 1
            self.used |= noise.used
        return self.largest


def enter(outcome: Outcome, name: str, adjoint: Adjoint, gradient: Any, limit: float, where: str = "") -> None:
    """Compare one gradient and enter its error into ``outcome``."""
    outcome.taps += 1
    direction = adjoint.along[-1]
    title = f"gradient of {name}{where}"
    first = f"gradient of {name}{FUSED_ONLY if where else ''}"
    if gradient is None or gradient.shape != direction.value.shape:
        wanted = direction.value.shape
        said = "there is none; it should have shape" if gradient is None else f"has shape {gradient.shape}, should have"
        outcome.worst, outcome.worst_at = np.inf, title
        outcome.rows.append((title, np.inf, ROUNDING[adjoint.dtype][0], False))
        outcome.differs(first, "shape", f"{said} {wanted}")
        return
    unit, tiny = ROUNDING[adjoint.dtype]
    products = gradient.astype(np.float64) * direction.value
    error, finite = abs(float(np.sum(products)) - adjoint.value), bool(np.isfinite(products).all())
    sizes = float(np.sum(np.abs(products))) if finite else 0.0
    floor = unit * (sizes + float(np.sum(np.abs(adjoint.u * adjoint.tangent)))) + max(tiny, LEAST)
    # most errors are within one unit after the first run; then the ratio says no more than that they are
    allowance = floor if error <= floor else floor + adjoint.sigma(error - floor)
    if limit * allowance < error < np.inf and outcome.first is None:  # it is a finding, unless eight runs were too few
        allowance = floor + adjoint.sigma(error / limit - floor, DOUBTED)
    ratio = error / allowance if np.isfinite(error) else np.inf
    outcome.rows.append((title, error, allowance, ratio <= limit))
    if ratio > outcome.worst:
        outcome.worst, outcome.worst_at = ratio, title
    if ratio > limit:
        said = f"⟨g, v⟩ is {said_off(error, allowance, ratio, limit)}" if finite else not_finite(gradient)
        outcome.differs(first, "value", said)
