"""``ar.compare(a, b)``: do two layers as they are compute the same, and if not, at which lines do they part?

Both run on the same numbers, each called in its own way, with every operation recorded. A value of one is looked for
among those of the other, in any order of axes. Where one has a value that the other never has, and behind it nothing
that both have, they part. Then more cases follow. With a block, both are held to it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.flow import following
from attn_ref.trace.match import loosely
from attn_ref.trace.meet import Parting, Side, equal, fits, layouts, part
from attn_ref.trace.record import Trace, moving
from attn_ref.verbs.apart import between
from attn_ref.verbs.calling import Call, Inputs
from attn_ref.verbs.candidates import sizes_of
from attn_ref.verbs.comparison import Comparison
from attn_ref.verbs.conform import CASES
from attn_ref.verbs.given import Given, counts, given_by, guesses, ways_to_give
from attn_ref.verbs.pairs import Pairs, paired
from attn_ref.verbs.side_by_side import held_to_block
from attn_ref.verbs.tracers import NotATarget, tracers_of
from attn_ref.verbs.wired import Runner, copied

__all__ = ["Comparison", "DifferentWeights", "compare"]
#: guesses of inputs that run in both, after which no others are tried; and the share of common values that is enough
GUESSES, ENOUGH = 4, 0.2
#: by how much parameters of one number all over are moved
MOVED = 0.25
#: how much more two other ways of calling must have in common than the usual ones
USUAL = 0.05
#: errors that are told
TOLD = 4


class DifferentWeights(NotATarget):
    """The two hold other numbers, so that what they compute says nothing."""


@dataclass
class Ran:
    """A layer that ran in one way."""

    original: Any
    runner: Runner
    said: str
    call: Call
    trace: Trace
    outputs: list[np.ndarray]
    _side: list[Side] = field(default_factory=list)

    @property
    def side(self) -> Side:
        """Its values, sorted once."""
        if not self._side:
            self._side.append(Side(self.trace, self.outputs))
        return self._side[0]

    def moved(self, inputs: Inputs) -> Ran:
        """The same on a new copy, whose parameters of one number all over are moved as far as that can be."""
        layer = copied(self.runner.tracer, self.original)
        for name, x in self.held(layer).items():
            if name in self.trace.parameters and is_plain(self.trace.parameters[name]):
                with suppress(RuntimeError, TypeError, ValueError):  # it is not to be written to
                    x += MOVED
        runner = Runner(self.runner.tracer, layer)
        trace, outputs = runner(self.call, inputs)
        return Ran(self.original, runner, self.said, self.call, trace, outputs)

    def held(self, layer: Any) -> dict[str, Any]:
        """The arrays that a copy of a function or object holds."""
        found = getattr(layer, "parameters", None)
        return found if isinstance(found, dict) else {}

    @property
    def plain(self) -> dict[float, int]:
        """Number that parameters are all over -> how many elements they have."""
        found: dict[float, int] = {}
        for x in self.trace.parameters.values():
            if is_plain(x):
                number = round(float(x.flat[0]), 6)
                found[number] = found.get(number, 0) + x.size
        return found


def is_plain(x: np.ndarray) -> bool:
    """Is it one number all over?"""
    return bool(x.size and np.all(x == x.flat[0]))


@dataclass
class Layer:
    """One of the two, and how it may be called."""

    layer: Any
    framework: str
    calls: Sequence[Call]
    errors: dict[str, str] = field(default_factory=dict)
    #: what traces it, once it ran
    tracer: Any = None

    def ways(self, runner: Runner, inputs: Inputs) -> Iterator[tuple[str, Call]]:
        """The ways that are tried."""
        yield from (("as you say", call) for call in self.calls[:1])
        if not self.calls or len(self.calls) > 1:
            yield from ways_to_give(runner.layer, inputs, runner.tracer.CHANNELS_LAST)

    def run(self, inputs: Inputs, tell: Callable[[str], None]) -> list[Ran]:
        """What it computes in every way in which it runs, in the first framework in which it runs at all."""
        found: list[Ran] = []
        for name, tracer in [("", self.tracer)] if self.tracer else tracers_of(self.layer, self.framework):
            runner = Runner(tracer, copied(tracer, self.layer))
            for said, call in self.ways(runner, inputs):
                tell(f"tracing {title(self.layer)}: {said}")
                fresh = Runner(tracer, copied(tracer, self.layer))  # what is built for other inputs is not built anew
                try:
                    trace, outputs = fresh(call, inputs)
                except Exception as error:
                    self.failed(said, inputs, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", name)
                    continue
                if outputs:
                    found.append(Ran(self.layer, fresh, said, call, trace, outputs))
                else:
                    self.failed(said, inputs, "it gives no tensor of real numbers", name)
            if found:
                self.tracer = tracer
                break
        return found

    def failed(self, said: str, inputs: Inputs, why: str, framework: str) -> None:
        """Keep what went wrong, once for each way."""
        shapes = ", ".join(str(np.shape(x)) for x in inputs.values())
        self.errors.setdefault(f"{said}{f' as one of {framework}' if framework else ''}", f"of {shapes}: {why}")


@dataclass
class Both:
    """Two layers that ran on the same numbers."""

    a: Ran
    b: Ran
    parting: Parting | None
    given: Given
    inputs: Inputs

    @property
    def agree(self) -> bool:
        """Do they give the same?"""
        return off(self.a.outputs, self.b.outputs) is not None

    @property
    def score(self) -> float:
        """How much they have in common."""
        if self.agree:
            return 2.0
        return self.parting.met / max(self.parting.seen, 1) if self.parting else 0.0


def compare(
    a: Any, b: Any, *, block: Block | None = None, inputs: Any = None, call: Call | None = None,
    call_b: Call | None = None, cases: int = CASES, seed: int = 0, framework: str = "", framework_b: str = "",
    tell: Callable[[str], None] = lambda what: None,
) -> Comparison:  # fmt: skip
    """Compare two layers of NumPy, torch, Keras or JAX, as they are.

    ``inputs``: arrays or shapes, by name or in turn, in the convention of a; without it they are found. ``call`` says
    how a is called, and b where ``call_b`` does not: inputs by name → (arguments, keyword arguments), as NumPy arrays.
    ``block``: what both should be; then each is held to it as well.

    Raises NotATarget where a layer cannot be run, DifferentWeights where they hold other numbers and no block says
    what they should compute.
    """
    if block is not None and not isinstance(block, Block):
        raise ValueError(f"block should be one with its options, such as ar.FeedForward(width=8, …); got {block!r}")
    found = Comparison(names(a, b))
    held = held_to_block(found, a, b, block, call, call_b, cases, seed, (framework, framework_b), tell) if block else {}
    own = held.get("inputs") if inputs is None else inputs
    calls = held.get("calls", ([call] if call else [], [call_b] if call_b else [call, call] if call else []))
    with moving(0.0), following(), np.errstate(all="ignore"):
        layers = Layer(a, framework, calls[0]), Layer(b, framework_b, calls[1])
        try:
            both = ran(layers, own, seed, tell)
        except NotATarget as error:
            if not found.verdicts:
                raise
            found.notes.append(f"the two could not be run side by side: {error}")
            return found
        pairs = paired(both.a.trace.parameters, both.b.trace.parameters)
        enter(found, both, pairs)
        if pairs.differ and not both.agree:
            if not found.verdicts:
                raise DifferentWeights(unlike(found.names, both))
            found.notes.append("the two hold other numbers, so their values are not compared, only their taps")
            return found
        settle(found, both, cases, seed, tell)
        if found.ok and own is None:
            elsewhere(found, layers, both, seed)
        if found.ok:
            tell("moving parameters of one number")
            moved(found, both)
    return found


def moved(found: Comparison, both: Both) -> None:
    """The same with parameters of one number all over, such as a bias of zeros, moved: they may hide a fault."""
    before = both.a.plain, both.b.plain
    if not any(before):
        return
    with moving(MOVED):
        runs = both.a.moved(both.inputs), both.b.moved(both.inputs)
    now = Both(*runs, None, both.given, both.inputs)
    both_moved = not set(before[0]) & set(runs[0].plain) and not set(before[1]) & set(runs[1].plain)
    with loosely() if both.a.trace.narrow or both.b.trace.narrow else nullcontext():
        if both_moved and now.agree:
            found.cases += 1
        elif both_moved and runs[0].plain == runs[1].plain:
            found.case = f"the first, with parameters that are one number all over moved by {MOVED}"
            parted(found, now)
        else:
            found.notes.append(
                "some parameters are one number all over, such as a bias of zeros; what they do is not compared"
            )


def names(a: Any, b: Any) -> tuple[str, str]:
    """What the two are called."""
    first, second = title(a), title(b)
    return (first, second) if first != second else (f"{first} a", f"{second} b")


def title(layer: Any) -> str:
    """What a layer is called: a function by its name, anything else by that of its class."""
    return str(getattr(layer, "__name__", type(layer).__name__))


def ran(layers: tuple[Layer, Layer], own: Any, seed: int, tell: Callable[[str], None]) -> Both:
    """Both on the same numbers, in the ways of calling that have most in common. NotATarget if there are none."""
    best: Both | None = None
    running = 0
    for given in [given_by(own)] if own is not None else guessed(layers):
        inputs = given.first(seed)
        here = on_these(layers, given, inputs, tell)
        if here is None:
            continue
        best = here if best is None or here.score > best.score else best
        running += 1
        if best.score >= ENOUGH or running >= GUESSES:
            break
    if best is None:
        raise NotATarget("\n".join(why(layer) for layer in layers if layer.tracer is None) or apart_in(layers))
    return best


def on_these(layers: tuple[Layer, Layer], given: Given, inputs: Inputs, tell: Callable[[str], None]) -> Both | None:
    """Both on these numbers; None where one of them does not run."""
    first = layers[0].run(inputs, tell)
    second = layers[1].run(inputs, tell) if first else []
    return nearest(first, second, given, inputs) if second else None


def elsewhere(found: Comparison, layers: tuple[Layer, Layer], both: Both, seed: int) -> None:
    """Say where the two, which agree, differ on inputs of another rank: maybe these are what they take."""
    ranks = {len(axes) for axes in both.given.axes.values()}
    for given in guessed(layers):
        rank = {len(axes) for axes in given.axes.values()}
        if rank & ranks or given.ids:
            continue
        here = on_these(layers, given, given.first(seed), lambda what: None)
        if here is not None:
            ranks |= rank
            if not here.agree:
                shapes = ", ".join(str(np.shape(x)) for x in here.inputs.values())
                found.notes.append(f"on inputs of {shapes} both run too, and differ: name them if these are meant")


def apart_in(layers: tuple[Layer, Layer]) -> str:
    """That each runs, and on nothing that the other runs on."""
    return "\n".join(["both run, but not on the same inputs", *map(why, layers)])


def guessed(layers: tuple[Layer, Layer]) -> Iterator[Given]:
    """Inputs that both may take."""
    sizes = [sizes_of(layer.layer) for layer in layers]
    shapes = []
    for layer in layers:
        for _, tracer in tracers_of(layer.layer, layer.framework):
            shape = tracer.shape(layer.layer) if hasattr(tracer, "shape") else None
            shapes += [shape] if shape else []
            break
    for count in counts(layers[0].layer, layers[1].layer):
        yield from guesses(sizes, shapes if count == 1 else (), count)


def why(layer: Layer) -> str:
    """What was tried, in words."""
    lines = [f"  {said}, {error}" for said, error in [*layer.errors.items()][:TOLD]]
    said = "give inputs= (--shape), or call=lambda inputs: (arguments, keywords)"
    return "\n".join([f"{title(layer.layer)} could not be called:", *lines, said])


def nearest(a: Sequence[Ran], b: Sequence[Ran], given: Given, inputs: Inputs) -> Both:
    """Of the ways of calling, the two that agree; else the two whose values have most in common."""
    for one in a:
        for other in b:
            both = Both(one, other, None, given, inputs)
            if both.agree:
                return both
    found = []
    for one in a:
        for other in b:
            with loosely() if one.trace.narrow or other.trace.narrow else nullcontext():
                found.append(Both(one, other, part(one.side, other.side), given, inputs))
    same_size = [both for both in found if both.a.outputs[0].size == both.b.outputs[0].size]
    return max(same_size or found, key=lambda both: both.score + USUAL * (both.a is a[0] and both.b is b[0]))


def off(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float | None:
    """How far the first outputs are apart, of the largest value; None where they are not the same."""
    if not fits(a[0], b[0]):
        return None
    x, y = next((x, y) for x, y in layouts(a[0], b[0]) if equal(x, y))
    finite = np.isfinite(x)
    top = float(np.max(np.abs(x[finite]), initial=0.0))
    return float(np.max(np.abs(x[finite] - y[finite]), initial=0.0)) / top if top else 0.0


def enter(found: Comparison, both: Both, pairs: Pairs) -> None:
    """What is known of the two before their values are compared."""
    found.calls = both.a.said, both.b.said
    found.inputs = {name: np.shape(x) for name, x in both.inputs.items()}
    found.weights = pairs.told
    for name, ran_, alone in zip("ab", (both.a, both.b), pairs.alone, strict=True):
        if alone:
            found.notes.append(f"the other has not all numbers of {name}.{f', {name}.'.join(alone)}")
        found.notes += [f"{name}: {note}" for note in ran_.trace.notes]
        if ran_.trace.unused:
            found.notes.append(f"parameters of {name} that no operation takes: {', '.join(ran_.trace.unused)}")
        if ran_.trace.narrow:
            found.notes.append(f"{name} leaves float64 on its way; both are compared as far as float32 goes")
        if any(np.isnan(y).any() for y in ran_.outputs):
            found.notes.append(f"{name} gives NaN")
        elif any(np.isinf(y).any() for y in ran_.outputs):
            found.notes.append(f"{name} gives infinities")
    turns = [next((word for word in ("batch second", "channels first") if word in said), "") for said in found.calls]
    if turns[0] != turns[1]:
        told = (f"{name} with {turn or 'the usual order of axes'}" for name, turn in zip("ab", turns, strict=True))
        found.notes.append(f"called {' and '.join(told)}")


def unlike(titles: tuple[str, str], both: Both) -> str:
    """That the two hold other numbers, in words."""
    held = [", ".join(f"{n} {x.shape}" for n, x in r.trace.parameters.items()) for r in (both.a, both.b)]
    return (
        f"{titles[0]} and {titles[1]} hold different weights, so what they compute cannot be compared\n"
        f"  a: {held[0]}\n  b: {held[1]}\n"
        "give both the same weights, or name the block that both should be: block= (--block)"
    )


def settle(found: Comparison, both: Both, cases: int, seed: int, tell: Callable[[str], None]) -> None:
    """The values of the first case, then those of more."""
    narrow = both.a.trace.narrow or both.b.trace.narrow
    with loosely() if narrow else nullcontext():
        apart = off(both.a.outputs, both.b.outputs)
        if apart is None:
            parted(found, both)
            return
        further(found, both)
        found.ok, found.cases, found.worst = True, 1, apart
        more(found, both, both.given.more(cases, seed, narrow), cases, tell)


def parted(found: Comparison, both: Both) -> None:
    """Enter where they part."""
    found.ok = False
    at = both.parting or part(both.a.side, both.b.side)
    found.places, found.says = between(at, both.a.side, both.b.side)
    sizes = [run.outputs[0].shape for run in (both.a, both.b)]
    if np.prod(sizes[0]) != np.prod(sizes[1]):
        found.notes.append(f"a gives {sizes[0]}, b gives {sizes[1]}")


def further(found: Comparison, both: Both) -> None:
    """Say where outputs after the first differ."""
    for n, (x, y) in enumerate(zip(both.a.outputs[1:], both.b.outputs[1:], strict=False), 2):
        if not fits(x, y):
            found.notes.append(f"output {n} differs: a gives {x.shape}, b gives {y.shape}; only the first is compared")


def more(
    found: Comparison, both: Both, given: Iterator[tuple[str, dict[str, np.ndarray]]], cases: int,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    """More cases: other sizes, then hard values. The first that differs is traced."""
    refused: dict[str, int] = {}
    for style, inputs in given:
        if found.cases > cases or sum(refused.values()) > 2 * cases:
            break
        tell(f"case {found.cases + 1}")
        said = ", ".join(f"{name} {np.shape(x)} {style}".rstrip() for name, x in inputs.items())
        results: list[list[np.ndarray] | None] = []
        for name, one in zip("ab", (both.a, both.b), strict=True):
            try:
                results.append(one.runner(one.call, inputs, 0)[1])
            except Exception as error:
                results.append(None)
                text = f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
                refused[text] = refused.get(text, 0) + 1
        first, second = results
        if first is None or second is None:
            continue
        if (apart := off(first, second)) is not None:
            found.cases, found.worst = found.cases + 1, max(found.worst, apart)
            continue
        found.case = said
        parted(found, again(both, inputs))
        break
    found.notes += [f"{times} cases were refused by {text}" for text, times in refused.items()]


def again(both: Both, inputs: Mapping[str, np.ndarray]) -> Both:
    """Both on other numbers, recorded."""
    runs = []
    for one in (both.a, both.b):
        trace, outputs = one.runner(one.call, inputs)
        runs.append(Ran(one.original, one.runner, one.said, one.call, trace, outputs))
    return Both(runs[0], runs[1], None, both.given, inputs)
