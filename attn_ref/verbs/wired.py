"""A stranger's layer in the framework in which it runs, and how it is called: every way is tried, the best is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.faults import Fault, faults
from attn_ref.trace.flow import following
from attn_ref.trace.record import Record, Trace
from attn_ref.trace.search import Attempt, Search
from attn_ref.verbs.calling import Call, bare_ways, first_inputs, fixed_sizes, ways
from attn_ref.verbs.filled import alike, forced
from attn_ref.verbs.made import Inputs, Made
from attn_ref.verbs.tracers import TRACERS, NotATarget, tracers_of
from attn_ref.verbs.weights import SHUFFLED, snapped, wiring

#: runs of a search in which heads count as merged though nobody merged them
UNMERGED = 40


@dataclass(frozen=True)
class Runner:
    """What runs: a copy of the layer where its framework makes one, and what traces it."""

    tracer: Any
    layer: Any

    def __call__(self, call: Call, inputs: Inputs, *limit: int) -> tuple[Trace, list[np.ndarray]]:
        """What is recorded, of values up to a ``limit``, with what came of what, and the real tensors that come out."""
        arguments, named = call(inputs)
        with following():
            traced = self.tracer.trace(self.layer, arguments, named, *limit)
        made = [x for x in getattr(call, "always", {}).values() if isinstance(x, Made)]
        known = [value for x in made for value in x.known(inputs)]
        traced.records[:0] = [Record(-1, "given", value, None) for value in known]
        return traced, self.tracer.outputs(traced.output)


@dataclass
class Wired:
    """What one way of calling gives: the best run of the reference, its faults, and the search that found them."""

    best: Attempt
    faults: list[Fault]
    search: Search
    #: how it is called, in words, and as a function
    said: str
    call: Call

    @property
    def agrees(self) -> bool:
        """Is the layer the block, as far as one case tells?"""
        return self.best.ok and not self.faults


def first_that_runs(
    layer: Any, block: Block, call: Call | None, seed: int, framework: str, tell: Callable[[str], None]
) -> tuple[Runner, dict[str, int], Inputs, list[Wired]]:
    """The layer in the first framework in which it runs, the sizes that it fixes, the inputs, and what was tried."""
    errors: dict[str, str] = {}
    for name, tracer in tracers_of(layer, framework):
        try:
            runner = Runner(tracer, copied(tracer, layer))
            fixed = fixed_sizes(tracer, layer, block)
            inputs = first_inputs(block, seed, fixed)
            tell("tracing the layer")
            return runner, fixed, inputs, wired(runner, block, inputs, call, tell)
        except NotATarget as error:
            errors[name] = str(error)
    if len(errors) == 1:
        raise NotATarget(*errors.values())
    said = "\n".join(f"as one of {name}: {why}" for name, why in errors.items())
    raise NotATarget(f"{said}\nsay what it is of: framework=, one of {', '.join(TRACERS)}")


def copied(tracer: Any, layer: Any) -> Any:
    """The copy of a layer that runs."""
    try:
        return tracer.double(layer)
    except Exception as error:
        raise NotATarget(f"the layer could not be copied: {type(error).__name__}: {error}") from error


def wired(runner: Runner, block: Block, inputs: Inputs, call: Call | None, tell: Callable[[str], None]) -> list[Wired]:
    """What every way of calling gives, the best first: the run, its faults, the search, and how it was called."""
    errors: dict[str, str] = {}
    tried: list[Wired] = []
    for said, way in [("as you say", call)] if call else every_way(runner, block, inputs):
        try:
            traced, values = runner(way, inputs)
            _, twice = runner(way, inputs, 0)
        except Exception as error:
            errors[said] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        if not values:
            errors[said] = "it gives no tensor of real numbers"
            continue
        if any(alike(values, one.search.outputs) for one in tried):
            continue  # as another way, which hides as little
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(values, twice, strict=True)):
            traced.notes.append("it gives something else each time it is called with the same")
        search = Search(block, inputs, traced, values)
        tell(f"searching: {said}")
        best, found = faults(search, tell)
        one = Wired(best, found, search, said, way)
        tried.append(one if one.agrees else unmerged(one) or one)
        if tried[-1].agrees:
            break
    if not tried:
        lines = "\n  ".join(f"{said}: {why}" for said, why in errors.items())
        raise NotATarget(f"the layer could not be called:\n  {lines}\ngive call=lambda inputs: (arguments, keywords)")
    best_of: dict[str, Wired] = {}  # of one way with masks in several polarities
    for one in sorted(tried, key=lambda one: (-one.best.met, len(one.faults))):
        best_of.setdefault(one.said, one)
    return list(best_of.values())


def every_way(runner: Runner, block: Block, inputs: Inputs) -> Iterator[tuple[str, Call]]:
    """The usual ways to call a layer, then those that give it what else it must have."""
    asked = block, inputs, runner.layer, runner.tracer.CHANNELS_LAST
    yield from ways(*asked)
    for said, way in bare_ways(*asked):
        yield from forced(runner, runner.layer, block, inputs, said, way)


def unmerged(one: Wired) -> Wired | None:
    """The same where heads are never merged: the projection takes heads and widths as two axes. None if it is not so.

    Only where all agrees then: the same values stand before a merge that is wrong.
    """
    search = Search(one.search.block, one.search.inputs, one.search.trace, one.search.outputs)
    search.finder.apart = True
    best = search.best({}, UNMERGED)
    if not best.ok:
        return None
    own = one.search.trace.parameters
    found = wiring(best, snapped(best.weights, own)[0], own)
    # heads that are merged inside out are the block with other weights, and a fault all the same
    return None if any(SHUFFLED in said for said in found.values()) else Wired(best, [], search, one.said, one.call)
