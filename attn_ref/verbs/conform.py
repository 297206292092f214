"""``ar.conform(layer, block)``: is a layer that nobody has touched the block, and if not, where and why?

The layer is run once with every operation recorded. The reference runs with weights that it reads off the recorded
values, so no names are needed, and each of its taps is looked for among them. Where they part, the reference goes on
from the layer's own value. Then more cases follow, with the weights that were found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from attn_ref.block import Block, written
from attn_ref.check.cases import Case, Seeded, draw
from attn_ref.check.numbers import short
from attn_ref.check.tolerance import LIMIT, OUTPUT, RUNS, Truth, deviation
from attn_ref.engines import MissingBackend
from attn_ref.tap import Tapped
from attn_ref.trace.match import loosely, same, turned
from attn_ref.trace.reasons import Reason, instead, reason
from attn_ref.trace.record import Line, Record
from attn_ref.trace.search import Attempt, Fault, Search, faults

#: cases after the first
CASES = 20
#: of sizes for the first case: primes, so that no two axes are taken for each other
PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29)
Inputs = Mapping[str, np.ndarray]
#: canonical inputs -> what the layer is called with
Call = Callable[[Inputs], tuple[Sequence[Any], Mapping[str, Any]]]


class NotATarget(ValueError):
    """What was given cannot be run as a layer."""


@dataclass(frozen=True)
class Place:
    """Where the layer parts from the block: the first tap that nobody computed, the line, and the reason."""

    tap: str
    line: Line | None
    operation: str
    reason: Reason | None

    def told(self) -> Iterator[str]:
        """In words, a line each."""
        yield f"differs first at {self.tap}"
        if self.line:
            yield f"line    {self.line.short}"
            yield f"        {self.line.code}"
        elif self.operation:
            yield f"step    {self.operation}"
        if self.reason:
            yield f"reason  {self.reason.says}"
            yield f"fix     {self.reason.fix}"
        else:
            yield "reason  none of those that are known gives the layer's numbers"


@dataclass
class Verdict:
    """What came of it."""

    block: Block
    ok: bool = False
    places: list[Place] = field(default_factory=list)
    #: cases that agree, and how many of the block's taps the layer has
    cases: int = 0
    taps: tuple[int, int] = (0, 0)
    #: the worst of them in units of what rounding explains; None where the weights are not the layer's own numbers
    worst: float | None = None
    #: parameter of the block -> what it is of the layer's
    wiring: dict[str, str] = field(default_factory=dict)
    call: str = ""
    #: what else is to be said
    notes: list[str] = field(default_factory=list)
    #: the case that differs, if not the first
    case: str = ""

    @property
    def first(self) -> str | None:
        """The first tap that nobody computed."""
        return self.places[0].tap if self.places else None

    @property
    def line(self) -> str | None:
        """``file:line`` of what was computed in its stead."""
        return str(self.places[0].line) if self.places and self.places[0].line else None

    @property
    def trap(self) -> str | None:
        """The name of the reason."""
        return self.places[0].reason.name if self.places and self.places[0].reason else None

    @property
    def spec(self) -> dict[str, Any]:
        """What was decided, to be kept with a test."""
        return {**self.block.as_data(), "call": self.call, "wiring": self.wiring}

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        places = [
            {"tap": p.tap, "file": p.line.file if p.line else None, "line": p.line.number if p.line else None,
             "code": p.line.code if p.line else None, "operation": p.operation,
             "reason": p.reason.name if p.reason else None, "says": p.reason.says if p.reason else None,
             "fix": p.reason.fix if p.reason else None}
            for p in self.places
        ]  # fmt: skip
        met, of = self.taps
        told = {"ok": self.ok, "cases": self.cases, "taps": met, "of": of, "worst": self.worst, "places": places}
        return {**told, "notes": self.notes, "case": self.case, **self.spec}

    def __str__(self) -> str:
        met, of = self.taps
        if self.ok:
            worst = "" if self.worst is None else f", at most {short(self.worst)} σ off"
            lines = [f"agrees with {self.block}: {self.cases} cases{worst}; {met} of its {of} taps are in it"]
        else:
            lines = [f"is not {self.block}"]
        for n, place in enumerate(self.places):
            first, *others = place.told()
            lines += [first.replace("differs first", "then differs") if n else first, *[f"  {x}" for x in others]]
        lines += [f"case    {self.case}"] if self.case else []
        lines += [f"called  {self.call}"] if self.call else []
        lines += [f"note    {note}" for note in self.notes]
        width = max((len(name) for name in self.wiring), default=0)
        lines += ["weights"] * bool(self.wiring) + [f"  {name:{width}}  {x}" for name, x in self.wiring.items()]
        return "\n".join(lines)


def conform(
    layer: Any, block: Block, *, call: Call | None = None, cases: int = CASES, seed: int = 0,
    tell: Callable[[str], None] = lambda what: None,
) -> Verdict:  # fmt: skip
    """Hold a layer of torch or Keras, as it is, to ``block``.

    ``call`` says how the layer is called: canonical inputs by name → (arguments, keyword arguments), as NumPy arrays;
    without it the usual ways are tried. Nothing of the layer is changed: a copy of it runs, in float64 where it can.

    Raises NotATarget where the layer cannot be run, with what was tried, and ValueError for a ``block`` that is none.
    """
    if not isinstance(block, Block):
        raise ValueError(f"block should be one with its options, such as ar.FeedForward(width=8, …); got {block!r}")
    tracer = tracer_of(layer)
    runner = tracer.double(layer)
    fixed = fixed_sizes(tracer, layer, block)
    inputs = first_inputs(block, seed, fixed)
    tell("tracing the layer")
    tried = wired(tracer, runner, block, inputs, call, tell)
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
        given = more_cases(block, making, cases, seed, fixed)
        with loosely() if loose else nullcontext():
            try_more(verdict, tracer, runner, making, weights, exact, given, cases, tell)
    return verdict


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


def tracer_of(layer: Any) -> Any:
    """What traces layers of its framework."""
    names = [cls.__module__.partition(".")[0] for cls in type(layer).__mro__]
    package = "attn_ref_keras" if "keras" in names else "attn_ref_torch"
    if not callable(layer):
        raise NotATarget(f"a layer is called; got a {type(layer).__name__}, which cannot be")
    try:
        return import_module(f"{package}.trace")
    except ModuleNotFoundError as error:
        raise MissingBackend(f"to trace it takes {error.name}, which is not installed") from error


def first_inputs(block: Block, seed: int, fixed: Mapping[str, int]) -> dict[str, np.ndarray]:
    """A plain case with more tokens than features, every axis of a size of its own, what may be left out left out.

    ``fixed``: sizes that the layer does not let be others.
    """
    taken = {x for x in block.fields().values() if type(x) is int} | {*fixed.values()}
    taken |= {int(getattr(block, name)) for name in ("d", "e", "kv_heads") if hasattr(block, name)}
    free = [n for n in PRIMES if n not in taken]
    widest = max([x for name, x in block.fields().items() if type(x) is int and "vocab" not in name] or [8])
    sizes = {"b": free[0], "H": free[1], "W": free[2], "s": free[3]}
    sizes["t"] = next(n for n in range(free[1], 4096) if n * free[0] > widest + 2 and n not in taken and n % free[0])
    sizes |= fixed
    grows = "b" if fixed else "W"
    while ("t" in fixed and sizes["b"] * sizes["t"] <= widest + 2) or (
        "H" in str(block.inputs) and sizes["b"] * sizes["H"] * sizes["W"] <= widest + 2
    ):
        others = taken | {n for label, n in sizes.items() if label != grows}
        sizes[grows] = next(n for n in range(sizes[grows] + 1, 4096) if n not in others)

    def size(label: str, *options: int) -> int:
        return sizes.get(label, max(options))

    case = draw(block, lambda *options: True if options == (True, False) else options[0], seed, sizes=size)
    return case.inputs()


def fixed_sizes(tracer: Any, layer: Any, block: Block) -> dict[str, int]:
    """The sizes that a layer says it takes, by the labels of the block's first input."""
    shape = tracer.shape(layer) if hasattr(tracer, "shape") else None
    axes = block.inputs[next(iter(block.inputs))].axes
    if shape is None or len(shape) != len(axes):
        return {}
    return {axis: size for axis, size in zip(axes, shape, strict=True) if size and axis.isalpha() and axis != "b"}


def ways(block: Block, inputs: Inputs, layer: Any, last: bool) -> Iterator[tuple[str, Call]]:
    """(how it is said, call): the usual ways to call a layer."""
    first = next(iter(block.inputs))
    rank = inputs[first].ndim
    attends = list(block.inputs)[:3] == ["query", "key", "value"]
    layouts: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [("", lambda x: x)]
    if rank == 3:
        layouts.append((", batch second", lambda x: np.swapaxes(x, 0, 1)))
    if rank == 4:
        layouts.insert(int(last), (", channels first", lambda x: np.moveaxis(x, -1, 1)))
    if rank > 3:
        layouts.append((", space as one axis", lambda x: x.reshape(len(x), -1, x.shape[-1])))
    given = [name for name in block.inputs if name in inputs]
    for title, layout in layouts:
        if len(given) > 1:
            yield f"layer({', '.join(given)}){title}", in_turn(given, layout)
            continue
        if attends and wanted(layer) > 1:  # of two, the second is both keys and values
            names = parts(layer)[: max(wanted(layer), 2)]
            yield f"layer({', '.join(names)}){title}", in_turn(names, layout)
        yield f"layer({first}){title}", in_turn([first], layout)
        if attends and wanted(layer) < 2:
            yield f"layer({', '.join(parts(layer))}){title}", in_turn(parts(layer), layout)


def parts(layer: Any) -> list[str]:
    """In which order a layer of attention takes query, key and value, by the names of its arguments."""
    letters = {"q": "query", "k": "key", "v": "value"}
    named = [letters.get(name[:1].lower(), "") for name in arguments_of(layer)[:3]]
    return named if sorted(named) == sorted(letters.values()) else list(letters.values())


def in_turn(names: Sequence[str], layout: Callable[[np.ndarray], np.ndarray]) -> Call:
    """Inputs by position; one that is left out is the one that stands in for it."""

    def call(inputs: Inputs) -> tuple[Sequence[Any], Mapping[str, Any]]:
        key = inputs.get("key", inputs.get("query"))
        known = {"key": key, "value": inputs.get("value", key), **inputs}
        return [layout(known[name]) for name in names], {}  # type: ignore[arg-type]

    call.takes = names  # type: ignore[attr-defined]
    return call


def arguments_of(layer: Any) -> list[str]:
    """The names of a layer's arguments."""
    function = getattr(layer, "forward", None) or getattr(layer, "call", None) or layer
    try:
        return [n for n, p in inspect.signature(function).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        return []


def wanted(layer: Any) -> int:
    """How many arguments a layer must be given."""
    function = getattr(layer, "forward", None) or getattr(layer, "call", None) or layer
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def wired(
    tracer: Any, layer: Any, block: Block, inputs: Inputs, call: Call | None, tell: Callable[[str], None]
) -> list[tuple[Attempt, list[Fault], Search, str, Call]]:
    """What every way of calling gives, the best first: the run, its faults, the search, and how it was called."""
    errors: dict[str, str] = {}
    tried: list[tuple[Attempt, list[Fault], Search, str, Call]] = []
    for said, way in [("as you say", call)] if call else ways(block, inputs, layer, tracer.CHANNELS_LAST):
        try:
            arguments, named = way(inputs)
            traced = tracer.trace(layer, arguments, named)
            values = tracer.outputs(traced.output)
            twice = tracer.outputs(tracer.trace(layer, arguments, named).output)
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


def snapped(
    weights: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], bool]:
    """Weights that were read off values, to the layer's own numbers that they are; and are they all?"""
    own = np.unique(np.concatenate([np.zeros(1), *(x.ravel() for x in parameters.values())]))
    found, exact = {}, True
    for name, value in weights.items():
        top = max(float(np.max(np.abs(value), initial=0.0)), 1e-300)
        at = np.clip(np.searchsorted(own, value), 1, max(len(own) - 1, 1))
        low, high = own[at - 1], own[np.minimum(at, len(own) - 1)]
        nearest = np.where(np.abs(value - low) <= np.abs(value - high), low, high)
        if np.max(np.abs(nearest - value), initial=0.0) <= 1e-9 * max(top, 1.0):
            found[name] = nearest
        else:
            found[name], exact = value, False
    return found, exact


def wiring(best: Attempt, weights: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Parameter of the block -> the layer's of which it is, in words."""
    told: dict[str, str] = {}
    for name in best.weights:
        fresh = {n: x for n, x in parameters.items() if not any(said.startswith(n) for said in told.values())}
        # parameters that start alike, as norms do, are told apart by their order
        told[name] = source(weights[name], {**fresh, **parameters}, best.read.get(name))
    return told


def source(value: np.ndarray, parameters: Mapping[str, np.ndarray], read: Record | None) -> str:
    """Which parameter, or rows of one, a weight is."""
    if not np.any(value):
        return "zeros: there is none"
    for name, x in parameters.items():
        if x.size != value.size:
            continue
        for said, y in ((name, x), (f"{name}.T", x.T)):
            if y.squeeze().shape == value.squeeze().shape and same(y.squeeze(), value.squeeze()):
                return said
        if same(x.reshape(value.shape), value):
            return f"{name}.reshape{value.shape}"
    for name, x in parameters.items():
        rows = value.T if value.ndim == 2 else value
        for part in range(len(x) // len(rows) if x.ndim == rows.ndim and len(rows) else 0):
            low, high = part * len(rows), (part + 1) * len(rows)
            if x[low:high].shape == rows.shape and same(x[low:high], rows):
                return f"{name}[{low}:{high}]" + (".T" if value.ndim == 2 else "")
    held = [name for name, x in parameters.items() if x.size >= value.size and np.isin(value, x).all()]
    if held:
        return f"numbers of {held[0]}, in another order"
    return f"read off the values of {read.line}" if read and read.line else "read off its values"


def more_cases(block: Block, call: Call, count: int, seed: int, fixed: Mapping[str, int]) -> Iterator[Case]:
    """Cases without what may be left out: sizes and styles vary. A layer that takes keys is given some of its own."""
    takes = getattr(call, "takes", ())
    crosses, apart = "key" in takes, "value" in takes  # of two inputs, the second is both keys and values
    for n in range(8 * count):
        pick = Seeded("conform", seed, n)

        def chosen(*options: Any, pick: Any = pick, crosses: bool = crosses and n % 2 == 0) -> Any:
            return pick(*options) if options != (True, False) or crosses else True

        def size(label: str, *options: int, pick: Any = pick) -> int:
            return fixed.get(label) or int(pick(*options))

        case = draw(block, chosen, seed * 1_000_003 + n, sizes=size)
        if not any(block.inputs[name].optional for name in case.shapes) and (apart or "value" not in case.shapes):
            yield case


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
        inputs = case.inputs()
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
        found = nearest(values, right)
        if exact and found <= LIMIT[dtype]:
            verdict.cases, verdict.worst = verdict.cases + 1, max(verdict.worst or 0.0, found)
            continue
        output = right.taps[OUTPUT].value
        if not exact and any(same(x, output) for y in values for x in turned(y, output.shape)):
            verdict.cases += 1
            continue
        verdict.ok, verdict.case = (
            False,
            ", ".join(f"{name} {x.shape} {case.styles[name]}" for name, x in inputs.items()),
        )
        search = Search(block, inputs, traced, values, known=weights)
        _, places = faults(search)
        explain(verdict, search, places, weights)
        if not places:
            verdict.notes.append(f"the output is {short(found)} σ off, and every tap is the layer's")
        return
    for why, times in refused.items():
        verdict.notes.append(f"the layer refused {times} cases: {why}")


def nearest(values: Sequence[np.ndarray], right: Truth) -> float:
    """How far the output is off in units of what rounding explains, in the order of axes that fits best."""
    want = right.taps[OUTPUT]
    best = float("inf")
    for y in values:
        for x in turned(y, want.value.shape) if y.size == want.value.size else ():
            error = deviation(Tapped(x, want.labels), want)
            with np.errstate(all="ignore"):
                worst = float(np.max(np.nan_to_num(error / right.unit[OUTPUT], nan=np.inf), initial=0.0))
            best = min(best, worst)
    return best


def described(options: Mapping[str, Any]) -> str:
    """Options in a line."""
    return ", ".join(f"{name}={written(x)}" for name, x in options.items())
