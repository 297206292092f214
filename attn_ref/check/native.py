"""Dropout as an engine draws it: no keep mask is injected.

With taps on the keep masks that the engine drew are seen: each holds 0 and 1 / (1 − rate) alone, drops about its share,
and the definition with these very masks gives what the engine gave, tap by tap.

With taps off nothing is seen but what comes out. So one example stands thousands of times in a batch, and what came of
the copies is compared with what the definition gives under as many masks drawn here: the means and the spreads of
outputs, and of sums of outputs with random signs. A wrong rate, one that is not made up for, a mask that all heads or
the whole batch share, and no dropout at all change one of them. Both sides are seeded. ``FAR`` standard errors are far
beyond chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from attn_ref import mode
from attn_ref.block import Block
from attn_ref.check.cases import Case
from attn_ref.check.gaps import Gap, units
from attn_ref.check.judge import Outcome, judge
from attn_ref.check.numbers import short
from attn_ref.check.tolerance import LIMIT, OUTPUT, Truth, wide
from attn_ref.implementation import Implementation
from attn_ref.ops.shape import rates
from attn_ref.tap import Tapped, is_statistic, record, replace
from attn_ref.weights import uniform

#: copies of one example, up to so many; none where fewer than that would have more values at a tap than these
MANY, FEWEST, VALUES = 4096, 1024, 4_000_000
SUMS = 48
#: standard errors
FAR = 8.0
NATIVE = " (dropout as the engine draws it)"


def judge_native(outcome: Outcome, backend: Implementation, case: Case, dtype: str, gaps: Iterable[Gap]) -> None:
    """Enter what differs when the engine draws its own keep masks, if the block drops anything."""
    block, weights, inputs = case.build(), case.weights(dtype), case.inputs(dtype)
    with rates() as found, record() as taps:
        block(wide(weights), **wide(inputs))
    if not found or case.empty() or any(map(is_statistic, taps)):
        return
    with backend.seeded(case.seed):
        layer = backend.load(backend.build(block, dtype), weights)
        run = backend.run(layer, inputs, observe=True, training=True)
    keeps = {name: run.taps[name] for name in found if name in run.taps}
    for name, keep in keeps.items():
        if said := odd(keep.value, found[name], dtype):
            outcome.worst, outcome.worst_at = float("inf"), name
            outcome.differs(name, "value", f"{said}{NATIVE}")
            return
    right = Truth(block, weights, inputs, dtype, units(gaps), keeps, runs=0)
    judge(outcome, right, {**run.taps, OUTPUT: Tapped(run.output, "")}, LIMIT[dtype], NATIVE)
    values = max(np.size(value) for value, _ in taps.values()) // len(run.output)
    copied = copies(block, inputs, min(MANY, VALUES // max(1, values)))
    if outcome.first is None and copied and dtype == "float64":
        judge_copies(outcome, backend, case, dtype, copied, found)


def odd(keep: Any, rate: float, dtype: str) -> str:
    """Why this is no keep mask of a rate; empty if it is one."""
    kept = np.asarray(keep, np.float64)
    scale = 1.0 / (1.0 - rate)
    wrong = (kept != 0) & (np.abs(kept - scale) > 2.0**-7 * scale * (1 if dtype == "bfloat16" else 2.0**-3))
    if wrong.any():
        return f"keep holds {short(float(kept[wrong].flat[0]))}, where 0 and 1 / (1 − {rate:g}) = {short(scale)} may be"
    dropped, expected = int(np.sum(kept == 0)), kept.size * rate
    if abs(dropped - expected) > FAR * (kept.size * rate * (1 - rate)) ** 0.5 + FAR:
        return f"{dropped} of {kept.size} are dropped, at a rate of {rate:g}"
    return ""


def copies(block: Block, inputs: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The first example ``count`` times; nothing where these are too few, or the batch does not come first."""
    if count < FEWEST:
        return {}
    found = {}
    for name, value in inputs.items():
        spec = block.inputs[name]
        if spec.axes[:1] == ("b",) and value.ndim == len(spec.axes):
            found[name] = np.repeat(value[:1], count, axis=0)
        elif not spec.broadcast and "b" in spec.axes:
            return {}
        else:
            found[name] = value
    return found if block.output_axes.split()[0] == "b" else {}


def judge_copies(
    outcome: Outcome,
    backend: Implementation,
    case: Case,
    dtype: str,
    inputs: dict[str, np.ndarray],
    found: dict[str, float],
) -> None:
    """Compare means and spreads of what comes out of the copies with taps off."""
    block, weights = case.build(), case.weights(dtype)
    with mode.training(), record() as taps:
        block(wide(weights), **wide(inputs))
    keeps = {}
    for name, rate in found.items():
        ones, labels = taps[name]
        keeps[name] = Tapped((uniform(ones.shape, case.seed, "native", name) >= 2 * rate - 1) / (1 - rate), labels)
    with mode.training(), replace(keeps):
        wanted = block(wide(weights), **wide(inputs))
    with backend.seeded(case.seed):
        layer = backend.load(backend.build(block, dtype), weights)
        got = backend.run(layer, inputs, observe=False, training=True).output
    if got.shape != wanted.shape:
        outcome.worst = float("inf")
        outcome.differs(f"{OUTPUT}{NATIVE}", "shape", f"has shape {got.shape}, should have {wanted.shape}")
        return
    if said := spread(got, wanted, case.seed):
        outcome.worst, outcome.worst_at = float("inf"), OUTPUT
        outcome.differs(f"{OUTPUT}{NATIVE}", "value", said)


def spread(got: np.ndarray, wanted: np.ndarray, seed: int) -> str:
    """How two samples of outputs, one a row, are unlike each other; empty where chance explains it."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (got, wanted))
    if not np.isfinite(a).all():
        return "it is not finite"
    scale = np.maximum(np.std(b, axis=0), 1e-9 * (1.0 + np.max(np.abs(b))))
    signs = np.where(uniform((SUMS, a.shape[1]), seed, "signs") < 0, -1.0, 1.0)
    a, b = (np.concatenate([x / scale, (x / scale) @ signs.T], axis=1) for x in (a, b))
    mean_a, mean_b, var_a, var_b = a.mean(0), b.mean(0), a.var(0), b.var(0)
    floor = 1e-12 * (1.0 + np.abs(mean_b)) ** 2
    off = np.abs(mean_a - mean_b) / np.sqrt((var_a + var_b) / len(a) + floor)
    if off.max() > FAR:
        return f"over {len(a)} draws its mean is {short(float(off.max()))} standard errors off"
    real = var_b > 1e3 * floor
    if not real.any():
        return ""
    a, b, var_a, var_b = a[:, real], b[:, real], var_a[real], var_b[real]
    peak = np.mean(((b - b.mean(0)) ** 2 / var_b) ** 2, axis=0)  # the fourth moment
    error = np.sqrt(2.0 * np.maximum(peak - 1.0, 0.5) / len(a))
    unlike = np.abs(np.log(np.maximum(var_a, 1e-12) / var_b)) / error
    if unlike.max() > FAR:
        n = int(np.argmax(unlike))
        ratio = short(float(var_a[n] / var_b[n]))
        far = short(float(unlike.max()))
        return f"over {len(a)} draws its variance is {ratio} times what it should be ({far} standard errors)"
    return ""
