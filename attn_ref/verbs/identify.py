"""``ar.identify(layer)``: which block, with which options, is a layer that nobody described?

Which blocks it may be is told by shapes before any number is compared: those of the parameters, against the arrays that
the layer holds, and the sizes of the values, against those that it computes. The most probable are held to its numbers,
and changed by one option after another as long as more of their taps are in the layer. What is left then is told as
``conform`` tells it: places, lines and reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn_ref.block import Block, written
from attn_ref.trace.formula import UNNAMED
from attn_ref.trace.match import same
from attn_ref.trace.options import alternatives, changed, part_of, rebuilt
from attn_ref.trace.record import Trace
from attn_ref.trace.search import Search
from attn_ref.verbs.calling import Call, arguments_of, first_inputs, fixed_sizes, hides, is_causal, required
from attn_ref.verbs.candidates import TRAINING, starting
from attn_ref.verbs.conform import CASES, conform
from attn_ref.verbs.filled import alike as same_results
from attn_ref.verbs.likeness import Seen, likeness, seen
from attn_ref.verbs.made import turn_of
from attn_ref.verbs.sizes import Sizes, sizes_of
from attn_ref.verbs.tracers import NotATarget, tracers_of
from attn_ref.verbs.tried import CHANGES, FIRST, Tried, as_held, climbed
from attn_ref.verbs.verdict import Verdict
from attn_ref.verbs.weights import snapped
from attn_ref.verbs.wired import Runner, every_way

#: blocks that are held to the layer's numbers, of them of one class, and those whose options are changed
CLOSELY, OF_CLASS, CLIMBED = 12, 4, 4
#: what it counts that a block is right behind all places where it differs, and what each such place costs
BEHIND, PLACE = 0.3, 0.1
#: by which power the shapes count: what holds a part too many is seldom meant
SHAPES = 3
#: what each of a block's parameters costs: of two that fit, the one with fewer is meant
ARRAY = 0.01
#: widths below this are kept apart from the sizes of the inputs
WIDEST = 64


@dataclass
class Identity:
    """Which block a layer is, or the nearest, with what ``conform`` says of it."""

    verdict: Verdict
    #: options that could not be told from those of the block, by name, in words
    ties: list[str] = field(default_factory=list)
    #: other blocks that came near, with the share of their taps that the layer has
    others: list[tuple[Block, float]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Is the layer the block exactly?"""
        return self.verdict.ok

    @property
    def block(self) -> Block:
        """The block that it is, or the nearest."""
        return self.verdict.block

    @property
    def traps(self) -> list[str]:
        """The names of what it does otherwise."""
        return [p.reason.name for p in self.verdict.places if p.reason and p.reason.name != UNNAMED]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        others = [{**block.as_data(), "share": share} for block, share in self.others]
        return {**self.verdict.to_json(), "ties": self.ties, "others": others}

    def __str__(self) -> str:
        first, *rest = str(self.verdict).split("\n")
        told = [f"is {self.block}", f"  {first}"] if self.ok else [f"is nearest to {self.block}"]
        told += rest
        told += [f"tie     {tie}" for tie in self.ties]
        told += [f"also    {block}: {share:.0%} of its taps" for block, share in self.others]
        return "\n".join(told)


def identify(
    layer: Any, *, block: str | None = None, call: Call | None = None, cases: int = CASES, seed: int = 0,
    framework: str = "", tell: Callable[[str], None] = lambda what: None,
) -> Identity:  # fmt: skip
    """Find the block and the options that a layer is. ``block``: the name of the only one that is tried.

    ``call`` and ``framework`` are as in ``conform``. Raises NotATarget where it runs as no block does.
    """
    sizes = sizes_of(layer)
    likely = first_tries(layer, sizes, block, call, framework, seed, tell)
    if not likely:
        raise NotATarget(
            f"the layer could not be called as any of the blocks is; it holds arrays of {shown(sizes)}. "
            "Say how it is called, call=lambda inputs: (arguments, keywords), or which block it should be, block="
        )
    found: list[Tried] = []
    for one in likely:
        found.append(climbed(one, sizes, tell))
        if found[-1].best.ok:
            break
    best = found[-1] if found[-1].best.ok else nearest(found)
    best = as_held(best, sizes) if best.best.ok else best
    verdict = settled(layer, best, cases, seed, framework, tell)
    others = [(one.block, one.share) for one in found if type(one.block) is not type(verdict.block)]
    return Identity(verdict, ties(best, verdict.block) if verdict.ok else [], others[:2] if not verdict.ok else [])


def nearest(found: Sequence[Tried]) -> Tried:
    """Of blocks none of which the layer is, the one that is right but for the fewest places."""

    def near(one: Tried) -> float:
        behind = BEHIND - PLACE * one.repaired.places if one.repaired.ok else 0.0
        return one.rank * (1 + one.share) + behind

    return max(found, key=near)


def shown(sizes: Sizes) -> str:
    """The shapes that a layer holds, in short."""
    return ", ".join(str(shape) for shape in sizes.shapes[:6]) or "no shape yet"


def first_tries(
    layer: Any,
    sizes: Sizes,
    only: str | None,
    call: Call | None,
    framework: str,
    seed: int,
    tell: Callable[[str], None],
) -> list[Tried]:
    """The blocks that may be it, the most probable first, in the first framework in which the layer runs.

    They are ranked by the shapes of their parameters and by the sizes of their values; then numbers are compared.
    """
    takes = [name for name in arguments_of(layer) if not hides(name)]
    starts = starting(sizes, only, max(len(takes), len(required(layer))))
    for _, tracer in tracers_of(layer, framework):
        calls = Calls(Runner(tracer, tracer.double(layer)), layer, sizes, call, seed)
        alike: list[tuple[float, Block, Ran]] = []
        rank: dict[type, int] = {}  # of the first input, as the layer takes it
        for block, fit in starts:
            if rank.get(type(block), axes_of(block)) != axes_of(block):
                continue
            tell(f"trying {block}")
            for ran in calls.of(block):
                share = likeness(block, ran.inputs, ran.seen)
                if share:
                    rank.setdefault(type(block), axes_of(block))
                    alike.append((fit**SHAPES * share * (1 - ARRAY * len(block.params())), block, ran))
        if alike:
            return closest(alike, tell)
    return []


def axes_of(block: Block) -> int:
    """How many axes its first input has."""
    return len(next(iter(block.inputs.values())).axes)


def closest(alike: Sequence[tuple[float, Block, Ran]], tell: Callable[[str], None]) -> list[Tried]:
    """Those of the best rank, of each class a few, by rank and by how many taps the layer has."""
    best: dict[Block, tuple[float, list[Ran]]] = {}
    for rank, block, ran in alike:
        top, ways = best.get(block, (0.0, []))
        best[block] = max(top, rank), [*ways, ran]
    count = Counter[type]()
    found: list[Tried] = []
    for block, (rank, ways) in sorted(best.items(), key=lambda one: -one[1][0]):
        if count[type(block)] == OF_CLASS or len(found) == CLOSELY:
            continue
        count[type(block)] += 1
        tell(f"looking at {block}")
        one = max((ran.tried(block) for ran in ways), key=lambda one: one.best.met)
        one.rank = rank
        found.append(one)
    return sorted(found, key=lambda one: -one.rank * (1 + one.share))[:CLIMBED]


@dataclass
class Ran:
    """One way in which the layer ran: what it was given, and what was recorded."""

    said: str
    call: Call
    inputs: dict[str, np.ndarray]
    trace: Trace
    outputs: list[np.ndarray]
    seen: Seen
    search: Search | None = None

    def tried(self, block: Block) -> Tried:
        """A block held to it."""
        self.search = search = Search(block, self.inputs, self.trace, self.outputs, like=self.search)
        return Tried(search.best({}, FIRST), [], search, self.said, self.call)


@dataclass
class Calls:
    """The layer run in every way in which it can be called as a block, each way once for all blocks."""

    runner: Runner
    layer: Any
    sizes: Sizes
    call: Call | None
    seed: int
    known: dict[Any, list[Ran]] = field(default_factory=dict)

    def of(self, block: Block) -> list[Ran]:
        """What came of the ways to call it as that block."""
        avoid = [n for n in self.sizes.widths() if n < WIDEST]
        inputs = first_inputs(block, self.seed, fixed_sizes(self.runner.tracer, self.layer, block), avoid)
        shapes = tuple((name, x.shape) for name, x in inputs.items())
        key = shapes, tuple(block.inputs), is_causal(block), turn_of(block) is not None
        if key not in self.known:
            self.known[key] = list(self.ran(block, inputs))
        return self.known[key]

    def ran(self, block: Block, inputs: dict[str, np.ndarray]) -> Iterator[Ran]:
        """The same, of ways that give different results."""
        given: list[list[np.ndarray]] = []
        usual = [("as you say", self.call)] if self.call else every_way(self.runner, block, inputs)
        for said, way in usual:
            try:
                trace, outputs = self.runner(way, inputs)
            except Exception:  # it is not called so
                continue
            if outputs and not any(same_results(outputs, other) for other in given):
                given.append(outputs)
                yield Ran(said, way, inputs, trace, outputs, seen(trace, outputs))


def settled(layer: Any, one: Tried, cases: int, seed: int, framework: str, tell: Callable[[str], None]) -> Verdict:
    """What ``conform`` says of the block, with the options that its reasons name."""
    block = one.block
    for _ in range(CHANGES):
        verdict = conform(layer, block, call=one.call, cases=cases, seed=seed, framework=framework, tell=tell)
        verdict.call = one.said
        other = block
        for place in verdict.places:
            if place.reason and place.reason.changes:
                other = changed(other, place.reason.changes)
        if verdict.ok or other == block:
            return verdict
        block = other
    return verdict


def ties(one: Tried, block: Block) -> list[str]:
    """Options with other values that give the same on what was tried."""
    one = one.with_block(block)
    if not one.best.ok:
        return []
    weights, _ = snapped(one.best.weights, one.search.trace.parameters)
    told: dict[str, list[str]] = {}
    want = block({name: weights[name] for name in block.params()}, **one.search.inputs)
    for name, value in alternatives(block):
        if name.rpartition(".")[2] in TRAINING:
            continue
        try:
            other = rebuilt(block, name, value)
            got = other({n: weights[n] for n in other.params()}, **one.search.inputs)
        except Exception:  # it has other parameters, or its options do not go together
            continue
        if same(got, want):
            told.setdefault(name, []).append(written(value))
    return [f"{name} = {written(part_of(block, name))} or {', '.join(values)}" for name, values in told.items()]
