"""``ar.conform(layer, block)``: is a layer that nobody has touched the block, and if not, where and why?

The layer is run once with every operation recorded. The reference runs with weights that it reads off the recorded
values, so no names are needed, and each of its taps is looked for among them. Where they part, the reference goes on
from the layer's own value. Then more cases follow, with the weights that were found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.check.cases import Case
from attn_ref.trace.formula import UNNAMED
from attn_ref.trace.match import loosely
from attn_ref.trace.options import instead
from attn_ref.trace.record import Record
from attn_ref.verbs.calling import Call, First, more_cases
from attn_ref.verbs.conventions import Convention, With
from attn_ref.verbs.gradients import held
from attn_ref.verbs.lost import at_nothing
from attn_ref.verbs.made import Inputs
from attn_ref.verbs.masks import find, misread
from attn_ref.verbs.more import try_more
from attn_ref.verbs.own_bias import OwnBias, own_biases, with_own
from attn_ref.verbs.places import explain, shared
from attn_ref.verbs.tracers import NotATarget
from attn_ref.verbs.verdict import Place, Verdict
from attn_ref.verbs.weights import snapped, wiring
from attn_ref.verbs.wired import Runner, Wired, first_that_runs, wired

__all__ = ["NotATarget", "Verdict", "conform"]
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
    runner, fixed, inputs, tried = first_that_runs(layer, block, call, seed, framework, tell)
    own = None
    if not tried[0].agrees and (its := with_its_bias(runner, block, tried, tell)):
        tried, inputs, own = its
    verdict, found, loose = of_first_case(runner, block, inputs, call, tried, tell)
    verdict.notes += [own.named()] if own else []
    making = found.call
    verdict.given, verdict.making = dict(inputs), making
    weights, exact = snapped(found.best.weights, found.search.trace.parameters)
    if verdict.ok:
        with loosely() if loose else nullcontext():
            making = conventions(verdict, runner, weights, inputs, making, tell)
            first: list[Case | First] = [First(inputs, seed)] * len(verdict.masks)  # once with each of what was found
            given = chain(first, more_cases(block, making, cases, seed, fixed))
            try_more(verdict, runner, making, weights, exact, given, cases + len(first), tell, own is not None)
        if verdict.ok and not loose:
            tell("comparing gradients")
            held(verdict, runner.tracer, runner.layer, *making(inputs), found.search.trace)
    return verdict


def with_its_bias(
    runner: Runner, block: Block, tried: Sequence[Wired], tell: Callable[[str], None]
) -> tuple[list[Wired], Inputs, OwnBias] | None:
    """The same, the block given the bias that the layer adds of its own, where it agrees then; None if it does not."""
    for one, own in own_biases(tried, block):
        tell("a bias of its own")
        inputs = with_own(block, one.search.inputs, own)
        again = wired(runner, block, inputs, one.call, tell)
        if again[0].agrees:
            again[0].said = one.said
            return again[:1], inputs, own
    return None


def of_first_case(
    runner: Runner, block: Block, inputs: Inputs, call: Call | None, tried: Sequence[Wired], tell: Callable[[str], None]
) -> tuple[Verdict, Wired, bool]:  # fmt: skip
    """What one case tells, what was found in it, and whether only as far as float32 goes."""
    loose = None
    if not tried[0].agrees and any(one.search.trace.narrow for one in tried):
        with loosely():
            tell("searching as in float32")
            again = wired(runner, block, inputs, call, tell)
        loose = again if again[0].agrees or again[0].best.met > tried[0].best.met else None
    found = (loose or tried)[0]
    verdict = Verdict(block, found.agrees, call=found.said)
    if loose:
        said = "it agrees" if found.agrees else "it is compared"
        verdict.notes.append(f"{said} as far as float32 goes: somewhere on its way it leaves float64")
    with loosely() if loose else nullcontext():
        explain(verdict, found.search, found.faults, found.best.weights)
    if verdict.ok:
        shared(verdict, found)
    known = any(place.reason and place.reason.name != UNNAMED for place in verdict.places)
    if not verdict.ok and not (known and found.best.ok):
        tell("trying other options")
        for one in tried:
            if other := instead(one.search, one.best.met):
                best, fault, why = other
                found, verdict.call = replace(one, best=best), one.said
                line, operation = (fault.record.line, fault.record.operation) if fault.record else (None, "")
                verdict.places = [Place(fault.tap, line, operation, why)]
                break
    best, trace = found.best, found.search.trace
    verdict.taps = sum(x is not None for x in best.taps.values()), len(best.taps)
    verdict.steps = {name: told(record) for name, record in best.taps.items()}
    verdict.wiring = wiring(best, snapped(best.weights, trace.parameters)[0], trace.parameters)
    verdict.notes += trace.notes
    for name in best.reordered:
        verdict.notes.append(f"{name}: the layer stacks these maps in another order, and the kernel behind lies so")
    if trace.unused:
        verdict.notes.append(f"parameters that no operation takes: {', '.join(trace.unused)}")
    if any(np.isnan(y).any() for y in found.search.outputs):
        verdict.notes.append("the layer gives NaN")
    if best.stuck and not verdict.ok:
        verdict.notes.append(f"no value of the layer gives {best.stuck}")
    return verdict, found, loose is not None


def told(record: Record | None) -> str | None:
    """The line of a value, "" where it has none; None where there is no value."""
    return None if record is None else record.line.short if record.line else ""


def conventions(
    verdict: Verdict, runner: Runner, weights: Mapping[str, np.ndarray], inputs: Inputs, call: Call,
    tell: Callable[[str], None],
) -> Call:  # fmt: skip
    """What the layer's further arguments mean, entered into the verdict; and the call that gives them."""
    found = find(runner, runner.layer, verdict.block, weights, inputs, call, tell)
    known = {c.argument: c for c in reversed(found)}
    needed: Sequence[Convention] = getattr(call, "needed", ())
    verdict.notes += [f"{c.argument} is given {c.input} that changes nothing: what it means was not found"
                      for c in needed if c.argument not in known]  # fmt: skip
    if not found:
        return call
    base = call.call if isinstance(call, With) else call
    making = With(base, found, verdict.block, [known.get(c.argument, c) for c in needed])
    verdict.masks = [str(convention) for convention in found]
    tell("trying other forms of masks")
    verdict.notes += [x for c in found if (x := misread(runner, verdict.block, weights, inputs, making, c))]
    if said := at_nothing(runner, verdict.block, weights, inputs, making, found):
        verdict.notes.append(said)
    return making
