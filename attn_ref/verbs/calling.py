"""How a stranger's layer is called, and on what: usual ways, sizes that it fixes, cases."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np

from attn_ref.block import Block
from attn_ref.check.cases import Case, Seeded, draw
from attn_ref.trace.read_off import parts as inside
from attn_ref.trace.record import inner

#: of sizes for the first case: primes, so that no two axes are taken for each other
PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29)
Inputs = Mapping[str, np.ndarray]
#: canonical inputs -> what the layer is called with
Call = Callable[[Inputs], tuple[Sequence[Any], Mapping[str, Any]]]


def first_inputs(block: Block, seed: int, fixed: Mapping[str, int]) -> dict[str, np.ndarray]:
    """A plain case with more tokens than features, every axis of a size of its own, what may be left out left out.

    ``fixed``: sizes that the layer does not let be others.
    """
    own = [(name, x) for _, part in inside(block) for name, x in part.fields().items() if type(x) is int]
    taken = {x for _, x in own} | {*fixed.values()}
    taken |= {int(getattr(x, name)) for _, x in inside(block) for name in ("d", "e", "kv_heads") if hasattr(x, name)}
    free = [n for n in PRIMES if n not in taken]
    widest = max([x for name, x in own if "vocab" not in name] or [8])
    sizes = {"b": free[0], "H": free[1], "W": free[2], "s": free[3]}
    sizes["t"] = next(n for n in range(free[1], 4096) if n * free[0] > widest + 2 and n not in taken and n % free[0])
    if "H" in str(block.inputs):  # of each image a gate has one row, from which its weights are read off
        sizes["b"] = next(n for n in range(widest + 3, 4096) if n not in taken and n not in sizes.values())
    sizes |= {"g": free[1], "r": 1, "d": free[2], "e": free[2]}  # of heads that are split
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
    """(how it is said, call): the usual ways to call a layer, those first that give it least."""
    plain = list(plain_ways(block, inputs, layer, last))
    for said, call in plain:
        rest = required(layer)[len(call.takes) :]  # type: ignore[attr-defined]
        turns = getattr(block, "turn", None) is not None
        rest += [name for name in arguments_of(layer, every=True) if turns and name in ROTARY and name not in rest]
        if not rest:
            yield said, call
            continue
        new: dict[str, Any] = {name: New(cls) for name, cls in fresh(layer).items()}
        new |= {name: Turning(block) for name in rest if name in ROTARY and turns}
        told = ", ".join(f"{name}={new.get(name)}" for name in rest)
        yield f"{said}, {told}", Always(call, {name: new.get(name) for name in rest})
    for flag in arguments_of(layer, every=True):
        if flag in CAUSAL and is_causal(block):
            yield from ((f"{said}, {flag}=True", Always(call, {flag: True})) for said, call in plain)


def plain_ways(block: Block, inputs: Inputs, layer: Any, last: bool) -> Iterator[tuple[str, Call]]:
    """The ways to give the block's first inputs, by position."""
    first = next(iter(block.inputs))
    axes = block.inputs[first].axes
    attends = list(block.inputs)[:3] == ["query", "key", "value"]
    layouts: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [("", lambda x: x)]
    channels = ", channels first", lambda x: np.moveaxis(x, -1, 1)
    if len(axes) == 3:
        layouts += [(", batch second", lambda x: np.swapaxes(x, 0, 1)), channels]
    elif "t" in axes:  # heads are split already
        layouts.append((", heads behind tokens", lambda x: np.swapaxes(x, 1, 2)))
        layouts.append((", heads beside the batch", lambda x: x.reshape(-1, *x.shape[2:])))
    elif len(axes) > 3:
        layouts.insert(int(last), channels)
        layouts.append((", space as one axis", lambda x: x.reshape(len(x), -1, x.shape[-1])))
    given = [name for name in block.inputs if name in inputs]
    asked = len(required(layer)) - sum(hides(name) for name in required(layer))
    for title, layout in layouts:
        if len(given) > 1:
            yield f"layer({', '.join(given)}){title}", in_turn(given, layout)
            continue
        if attends and asked > 1:  # of two, the second is both keys and values
            names = parts(layer)[: max(asked, 2)]
            yield f"layer({', '.join(names)}){title}", in_turn(names, layout)
        yield f"layer({first}){title}", in_turn([first], layout)
        if attends and asked < 2:
            yield f"layer({', '.join(parts(layer))}){title}", in_turn(parts(layer), layout)


#: flags of a call that make it causal
CAUSAL = ("is_causal", "use_causal_mask", "causal")


def is_causal(block: Block) -> bool:
    """Is it, or a block among its fields?"""
    return any(getattr(part, "causal", None) is not None for _, part in inside(block))


def hides(argument: str) -> bool:
    """Is an argument a mask or what goes for one, by its name?"""
    return any(word in argument.lower() for word in ("mask", "bias", "length", "valid", "pad"))


@dataclass(frozen=True)
class New:
    """An argument that is made anew for every call, such as a cache that is empty."""

    cls: type

    def __call__(self, inputs: Inputs) -> Any:
        return self.cls()

    def __str__(self) -> str:
        return f"{self.cls.__name__}()"


#: arguments that are (cos, sin) of the rotary angles, each (b, t, width of a head), the two halves alike
ROTARY = ("position_embeddings", "rotary_pos_emb", "cos_sin")


@dataclass(frozen=True)
class Turning:
    """The cosines and sines that a layer is given whose rotary positions are computed outside of it."""

    block: Any

    def __call__(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        b, t = inputs[next(iter(self.block.inputs))].shape[:2]
        turn = self.block.turn
        rates = turn.base ** (-np.arange(0, turn.width, 2) / turn.width)
        angles = np.tile(np.arange(t)[:, None] * rates, 2)
        return tuple(np.broadcast_to(f(angles), (b, *angles.shape)) for f in (np.cos, np.sin))  # type: ignore[return-value]

    def __str__(self) -> str:
        return "(cos, sin) of its angles"


def fresh(layer: Any) -> dict[str, type]:
    """The arguments that are objects of the user's own classes, by what their annotations say."""
    function = function_of(layer)
    try:
        hints = get_type_hints(getattr(function, "__func__", function))
    except Exception:  # an annotation may name what is not there
        return {}
    return {name: cls for name, cls in hints.items() if isinstance(cls, type) and not inner(module_file(cls))}


def module_file(cls: type) -> str:
    """The file of the module in which a class stands; that of none is the library's."""
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or "<none>"


class Always:
    """A call with further arguments that are always the same."""

    def __init__(self, call: Call, named: Mapping[str, Any]) -> None:
        self.call, self.always, self.takes = call, dict(named), getattr(call, "takes", ())

    def __call__(self, inputs: Inputs) -> tuple[Sequence[Any], Mapping[str, Any]]:
        arguments, named = self.call(inputs)
        made = {name: x(inputs) if isinstance(x, New | Turning) else x for name, x in self.always.items()}
        return arguments, {**made, **named}


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


def function_of(layer: Any) -> Any:
    """What runs when a layer is called."""
    return getattr(layer, "forward", None) or getattr(layer, "call", None) or layer


def signature_of(layer: Any) -> Sequence[inspect.Parameter]:
    """The arguments of a layer's call; none where it does not tell."""
    try:
        return list(inspect.signature(function_of(layer)).parameters.values())
    except (TypeError, ValueError):
        return []


def arguments_of(layer: Any, *, every: bool = False) -> list[str]:
    """The names of a layer's arguments that may be given by position, or of ``every`` one."""
    kinds = [inspect.Parameter.POSITIONAL_OR_KEYWORD] + [inspect.Parameter.KEYWORD_ONLY] * every
    return [p.name for p in signature_of(layer) if p.kind in kinds]


def required(layer: Any) -> list[str]:
    """The arguments that a layer must be given."""
    told = signature_of(layer)
    if not told:
        return ["x"]
    return [p.name for p in told if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def more_cases(block: Block, call: Call, count: int, seed: int, fixed: Mapping[str, int]) -> Iterator[Case]:
    """Cases without what may be left out: sizes and styles vary. A layer that takes keys is given some of its own."""
    takes = getattr(call, "takes", ())
    crosses, apart = "key" in takes, "value" in takes  # of two inputs, the second is both keys and values
    for n in range(8 * count):
        pick = Seeded("conform", seed, n)

        def chosen(*options: Any, pick: Any = pick, crosses: bool = crosses and n % 2 == 0) -> Any:
            return pick(*options) if options != (True, False) or crosses else True

        def size(label: str, *options: int, pick: Any = pick, n: int = n) -> int:
            return 1 if label == "r" and n % 2 else fixed.get(label) or int(pick(*options))

        case = draw(block, chosen, seed * 1_000_003 + n, sizes=size)
        if not any(block.inputs[name].optional for name in case.shapes) and (apart or "value" not in case.shapes):
            yield case
