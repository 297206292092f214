"""``ar.identify(layer)``: which block, with which options, is a layer that nobody described?

The blocks that have as many numbers as the layer are tried, each with the sizes that the layer holds; the one of whose
taps most are in the layer is taken, and changed by one option after another as long as more of them are. What is left
then is told as ``conform`` tells it: places, lines and reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from attn_ref.block import Block, written
from attn_ref.trace.formula import UNNAMED
from attn_ref.trace.match import same
from attn_ref.trace.options import alternatives, changed, part_of, rebuilt
from attn_ref.trace.search import Search
from attn_ref.verbs.calling import Call, first_inputs, fixed_sizes, required, ways
from attn_ref.verbs.candidates import TRAINING, Sizes, sizes_of, starting
from attn_ref.verbs.conform import CASES, conform
from attn_ref.verbs.tracers import NotATarget, tracers_of
from attn_ref.verbs.tried import CHANGES, FIRST, Tried, climbed, closest, repaired, simplest
from attn_ref.verbs.verdict import Verdict
from attn_ref.verbs.weights import snapped
from attn_ref.verbs.wired import Runner


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
    tried = sorted(first_tries(layer, sizes, block, call, framework, seed, tell), key=lambda one: -one.share)
    if not tried:
        raise NotATarget(
            f"the layer could not be called as any of the blocks is; it holds arrays of {shown(sizes)}. "
            "Say how it is called, call=lambda inputs: (arguments, keywords), or which block it should be, block="
        )
    found: list[Tried] = []
    for one in closest(tried if tried[0].best.ok else repaired(tried, tell)):
        found.append(climbed(one, sizes, tell))
        if found[-1].best.ok:
            break
    best = max(found, key=lambda one: (one.best.ok, one.share, -len(one.block.params())))
    best = simplest(best) if best.best.ok else best
    verdict = settled(layer, best, cases, seed, framework, tell)
    others = [(one.block, one.share) for one in found if type(one.block) is not type(verdict.block)]
    return Identity(verdict, ties(best, verdict.block) if verdict.ok else [], others[:2] if not verdict.ok else [])


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
) -> Iterator[Tried]:
    """Every block that may be it, as it is called, in the first framework in which the layer runs."""
    for _, tracer in tracers_of(layer, framework):
        runner, any_runs = Runner(tracer, tracer.double(layer)), False
        traces: dict[Any, Any] = {}
        for block in starting(sizes, only, len(required(layer))):
            tell(f"trying {block}")
            for one in called(runner, layer, block, call, seed, traces):
                any_runs = True
                yield one
        if any_runs:
            return


def called(
    runner: Runner, layer: Any, block: Block, call: Call | None, seed: int, traces: dict[Any, Any]
) -> Iterator[Tried]:
    """A block in every way in which the layer can be called as one."""
    inputs = first_inputs(block, seed, fixed_sizes(runner.tracer, layer, block))
    usual = ways(block, inputs, runner.layer, runner.tracer.CHANNELS_LAST)
    for said, way in [("as you say", call)] if call else usual:
        key = (said, *((name, x.shape) for name, x in inputs.items()))
        if key not in traces:
            try:
                traces[key] = (*runner(way, inputs), None)
            except Exception:  # it is not called so
                traces[key] = None
        if traces[key] is None or not traces[key][1]:
            continue
        search = Search(block, inputs, traces[key][0], traces[key][1], like=traces[key][2])
        traces[key] = (traces[key][0], traces[key][1], search)
        yield Tried(search.best({}, FIRST), [], search, said, way)


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
