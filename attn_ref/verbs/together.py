"""Two layers that run on the same numbers, each in a way of calling of its own: those that have the most in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn_ref.trace.match import loosely
from attn_ref.trace.meet import Parting, Side, equal, fits, layouts, part
from attn_ref.trace.record import Trace
from attn_ref.verbs.calling import Call
from attn_ref.verbs.given import Given, counts, given_by, guesses, ways_to_give
from attn_ref.verbs.made import Inputs
from attn_ref.verbs.sizes import sizes_of
from attn_ref.verbs.tracers import NotATarget, tracers_of
from attn_ref.verbs.wired import Runner, copied

#: guesses of inputs that run in both, after which no others are tried; and the share of common values that is enough
GUESSES, ENOUGH = 4, 0.2


#: by how much parameters of one number all over are moved
MOVED = 0.25


#: how much more two other ways of calling must have in common than the usual ones
USUAL = 0.05


#: errors that are told
TOLD = 4


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


def again(both: Both, inputs: Mapping[str, np.ndarray]) -> Both:
    """Both on other numbers, recorded."""
    runs = []
    for one in (both.a, both.b):
        trace, outputs = one.runner(one.call, inputs)
        runs.append(Ran(one.original, one.runner, one.said, one.call, trace, outputs))
    return Both(runs[0], runs[1], None, both.given, inputs)
