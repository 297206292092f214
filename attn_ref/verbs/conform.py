"""``ar.conform(layer, block)``: is a layer that nobody has touched the block, and if not, where and why?

The layer is run once with every operation recorded. The reference runs with weights that it reads off the recorded
values, so no names are needed, and each of its taps is looked for among them. Where they part, the reference goes on
from the layer's own value. Then more cases follow, with the weights that were found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.check.cases import Case
from attn_ref.check.numbers import short
from attn_ref.check.tolerance import LIMIT, OUTPUT, RUNS, Truth, deviation
from attn_ref.tap import Tapped
from attn_ref.trace.match import loosely, same, turned
from attn_ref.trace.options import instead
from attn_ref.trace.reason import Reason
from attn_ref.trace.reasons import reason
from attn_ref.trace.record import Record, Trace
from attn_ref.trace.search import Attempt, Fault, Search, faults
from attn_ref.verbs.calling import Call, Inputs, first_inputs, fixed_sizes, more_cases, ways
from attn_ref.verbs.conventions import Convention, With
from attn_ref.verbs.gradients import held
from attn_ref.verbs.lost import at_nothing
from attn_ref.verbs.masks import find, forced, masked_inputs, real
from attn_ref.verbs.tracers import TRACERS, NotATarget, tracers_of
from attn_ref.verbs.verdict import Place, Verdict
from attn_ref.verbs.weights import snapped, wiring

#: cases after the first
CASES = 20


def conform(
    layer: Any, block: Block, *, call: Call | None = None, cases: int = CASES, seed: int = 0,
    framework: str = "", tell: Callable[[str], None] = lambda what: None,
) -> Verdict:  # fmt: skip
    """Hold a layer of NumPy, torch, Keras or JAX, as it is, to ``block``.

    ``call`` says how the layer is called: canonical inputs by name → (arguments, keyword arguments), as NumPy arrays;
    without it the usual ways are tried. Nothing of the layer is changed: a copy of it runs, in float64 where it can.
    ``framework``: "numpy", "torch", "keras" or "jax", where the layer does not tell it.

    Raises NotATarget where the layer cannot be run, with what was tried, and ValueError for a ``block`` that is none.
    """
    if not isinstance(block, Block):
        raise ValueError(f"block should be one with its options, such as ar.FeedForward(width=8, …); got {block!r}")
    tracer, runner, fixed, inputs, tried = first_that_runs(layer, block, call, seed, framework, tell)
    loose = None
    if (not tried[0][0].ok or tried[0][1]) and any(one[2].trace.narrow for one in tried):
        with loosely():
            tell("searching as in float32")
            again = wired(tracer, runner, block, inputs, call, tell)
        loose = again if again[0][0].ok and not again[0][1] else None
    best, places, search, told, making = (loose or tried)[0]
    verdict = Verdict(block, best.ok and not places, call=told)
    if loose:
        verdict.notes.append("it agrees as far as float32 goes: somewhere on its way it leaves float64")
    explain(verdict, search, places, best.weights)
    if verdict.ok:
        shared(verdict, best)
    if not verdict.ok and not any(place.reason for place in verdict.places):
        tell("trying other options")
        for one in tried:
            if other := instead(one[2], one[0].met):
                best, fault, why = other
                _, _, search, verdict.call, making = one
                line, operation = (fault.record.line, fault.record.operation) if fault.record else (None, "")
                verdict.places = [Place(fault.tap, line, operation, why)]
                break
    verdict.taps = sum(x is not None for x in best.taps.values()), len(best.taps)
    weights, exact = snapped(best.weights, search.trace.parameters)
    verdict.wiring = wiring(best, weights, search.trace.parameters)
    verdict.notes += search.trace.notes
    if search.trace.unused:
        verdict.notes.append(f"parameters that no operation takes: {', '.join(search.trace.unused)}")
    if any(np.isnan(y).any() for y in search.outputs):
        verdict.notes.append("the layer gives NaN")
    if best.stuck and not verdict.ok:
        verdict.notes.append(f"no value of the layer gives {best.stuck}")
    if verdict.ok:
        with loosely() if loose else nullcontext():
            making = conventions(verdict, tracer, runner, weights, inputs, making, tell)
            given = more_cases(block, making, cases, seed, fixed)
            try_more(verdict, tracer, runner, making, weights, exact, given, cases, tell)
        if verdict.ok and not loose:
            tell("comparing gradients")
            held(verdict, tracer, runner, *making(inputs), search.trace)
    return verdict


def conventions(
    verdict: Verdict, tracer: Any, layer: Any, weights: Mapping[str, np.ndarray], inputs: Inputs, call: Call,
    tell: Callable[[str], None],
) -> Call:  # fmt: skip
    """What the layer's further arguments mean, entered into the verdict; and the call that gives them."""

    def run(call: Call, inputs: Inputs, *limit: int) -> tuple[Trace, list[np.ndarray]]:
        arguments, named = call(inputs)
        traced = tracer.trace(layer, arguments, named, *limit)
        return traced, tracer.outputs(traced.output)

    found = find(run, layer, verdict.block, weights, inputs, call, tell)
    if not found:
        return call
    needed = getattr(call, "needed", ())
    base = call.call if isinstance(call, With) else call
    making = With(base, found, verdict.block, needed)
    verdict.masks = [str(convention) for convention in found]
    if said := at_nothing(run, verdict.block, weights, inputs, making, found):
        verdict.notes.append(said)
    return making


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


def explain(verdict: Verdict, search: Search, found: Sequence[Fault], weights: Mapping[str, np.ndarray]) -> None:
    """Enter the places and their reasons."""
    stand_ins: dict[str, np.ndarray] = {}
    for fault in found:
        why = reason(search, fault, stand_ins, weights)
        record: Record | None = fault.record
        verdict.places.append(
            Place(fault.tap, record.line if record else None, record.operation if record else "", why)
        )
        if fault.theirs is not None:
            stand_ins[fault.tap] = fault.theirs


def first_that_runs(
    layer: Any, block: Block, call: Call | None, seed: int, framework: str, tell: Callable[[str], None]
) -> tuple[Any, Any, dict[str, int], Inputs, list[tuple[Attempt, list[Fault], Search, str, Call]]]:
    """The tracer of the first framework in which the layer runs, the copy that runs, sizes, inputs, what was tried."""
    errors: dict[str, str] = {}
    for name, tracer in tracers_of(layer, framework):
        try:
            runner = tracer.double(layer)
            fixed = fixed_sizes(tracer, layer, block)
            inputs = first_inputs(block, seed, fixed)
            tell("tracing the layer")
            return tracer, runner, fixed, inputs, wired(tracer, runner, block, inputs, call, tell)
        except NotATarget as error:
            errors[name] = str(error)
    if len(errors) == 1:
        raise NotATarget(*errors.values())
    said = "\n".join(f"as one of {name}: {why}" for name, why in errors.items())
    raise NotATarget(f"{said}\nsay what it is of: framework=, one of {', '.join(TRACERS)}")


def wired(
    tracer: Any, layer: Any, block: Block, inputs: Inputs, call: Call | None, tell: Callable[[str], None]
) -> list[tuple[Attempt, list[Fault], Search, str, Call]]:
    """What every way of calling gives, the best first: the run, its faults, the search, and how it was called."""
    errors: dict[str, str] = {}
    tried: list[tuple[Attempt, list[Fault], Search, str, Call]] = []
    usual = list(ways(block, inputs, layer, tracer.CHANNELS_LAST))
    usual += [one for said, way in usual for one in forced(layer, block, said, way)]
    for said, way in [("as you say", call)] if call else usual:
        try:
            arguments, named = way(inputs)
            traced = tracer.trace(layer, arguments, named)
            values = tracer.outputs(traced.output)
            twice = tracer.outputs(tracer.trace(layer, arguments, named, limit=0).output)
        except Exception as error:
            errors[said] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        if not values:
            errors[said] = "it gives no tensor of real numbers"
            continue
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(values, twice, strict=True)):
            traced.notes.append("it gives something else each time it is called with the same")
        search = Search(block, inputs, traced, values)
        tell(f"searching: {said}")
        best, found = faults(search, tell)
        tried.append((best, found, search, said, way))
        if best.ok and not found:
            break
    if not tried:
        lines = "\n  ".join(f"{said}: {why}" for said, why in errors.items())
        raise NotATarget(f"the layer could not be called:\n  {lines}\ngive call=lambda inputs: (arguments, keywords)")
    return sorted(tried, key=lambda one: (-one[0].met, len(one[1])))


def try_more(
    verdict: Verdict, tracer: Any, layer: Any, call: Call, weights: dict[str, np.ndarray], exact: bool,
    given: Iterator[Case], count: int, tell: Callable[[str], None],
) -> None:  # fmt: skip
    """More cases with the weights that were found: values of the output, and where one differs the place."""
    block = verdict.block
    verdict.cases, verdict.worst = 1, 0.0 if exact else None
    refused: dict[str, int] = {}
    for case in given:
        if verdict.cases > count:
            break
        if case.empty():
            continue
        hiding: Sequence[Convention] = getattr(call, "conventions", ())
        inputs = masked_inputs(block, weights, case.inputs(), hiding, case.seed)
        arguments, named = call(inputs)
        tell(f"case {verdict.cases + 1}")
        try:
            traced = tracer.trace(layer, arguments, named)
            values = tracer.outputs(traced.output)
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            refused[why] = refused.get(why, 0) + 1
            if sum(refused.values()) > count:
                break
            continue
        dtype = "float32" if traced.narrow else "float64"
        right = Truth(block, weights, inputs, dtype, runs=RUNS if traced.narrow else 3)
        tokens = next((real(inputs[c.input], c.form) for c in hiding if c.input in inputs), None)
        found = nearest(values, right)
        if tokens is not None and found > LIMIT[dtype]:
            found = nearest(values, right, tokens)
            padded(verdict, found <= LIMIT[dtype])
        if exact and found <= LIMIT[dtype]:
            verdict.cases, verdict.worst = verdict.cases + 1, max(verdict.worst or 0.0, found)
            continue
        output = right.taps[OUTPUT].value
        if not exact and any(same(x, output) for y in values for x in turned(y, output.shape)):
            verdict.cases += 1
            continue
        verdict.ok, verdict.case = (
            False,
            ", ".join(f"{name} {x.shape} {case.styles.get(name, '')}".rstrip() for name, x in inputs.items()),
        )
        search = Search(block, inputs, traced, values, known=weights)
        _, places = faults(search)
        explain(verdict, search, places, weights)
        if not places:
            verdict.notes.append(f"the output is {short(found)} σ off, and every tap is the layer's")
        return
    for why, times in refused.items():
        verdict.notes.append(f"the layer refused {times} cases: {why}")


def padded(verdict: Verdict, agrees: bool) -> None:
    """Say that the outputs of padded tokens are the layer's own business."""
    said = "the outputs of padded tokens are not the block's; they are not compared"
    if agrees and said not in verdict.notes:
        verdict.notes.append(said)


def nearest(values: Sequence[np.ndarray], right: Truth, tokens: np.ndarray | None = None) -> float:
    """How far the output is off in units of what rounding explains, in the order of axes that fits best.

    ``tokens``: the ones (b, t) that are compared.
    """
    want = right.taps[OUTPUT]
    best = float("inf")
    for y in values:
        for x in turned(y, want.value.shape) if y.size == want.value.size else ():
            error = deviation(Tapped(x, want.labels), want)
            with np.errstate(all="ignore"):
                off = np.nan_to_num(error / right.unit[OUTPUT], nan=np.inf)
            if tokens is not None and tokens.shape == off.shape[:2]:
                off = off[tokens]
            worst = float(np.max(off, initial=0.0))
            best = min(best, worst)
    return best
