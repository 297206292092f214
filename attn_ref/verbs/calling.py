"""How a stranger's layer is called, and on what: usual ways, sizes that it fixes, cases."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.check.cases import Case, Seeded, draw
from attn_ref.trace.read_off import parts as inside
from attn_ref.verbs.made import ROTARY, Inputs, Made, New, Turning, fresh, turn_of

#: of sizes for the first case: primes, so that no two axes are taken for each other
PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29)
#: canonical inputs -> what the layer is called with
Call = Callable[[Inputs], tuple[Sequence[Any], Mapping[str, Any]]]


def first_inputs(block: Block, seed: int, fixed: Mapping[str, int], avoid: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """A plain case with more tokens than features, every axis of a size of its own, what may be left out left out.

    ``fixed``: sizes that the layer does not let be others. ``avoid``: widths that blocks of the same case may have.
    """
    own = [(name, x) for _, part in inside(block) for name, x in part.fields().items() if type(x) is int]
    taken = {x for _, x in own} | {*fixed.values(), *avoid}
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
    turning = turn_of(block) is not None
    for said, call in bare_ways(block, inputs, layer, last):
        rest = more_needed(block, layer, call)
        if not rest:
            yield said, call
            continue
        new: dict[str, Any] = {name: New(cls) for name, cls in fresh(function_of(layer)).items()}
        new |= {name: Turning(block) for name in rest if name in ROTARY and turning}
        told = ", ".join(f"{name}={new.get(name)}" for name in rest)
        yield f"{said}, {told}", Always(call, {name: new.get(name) for name in rest})


def bare_ways(block: Block, inputs: Inputs, layer: Any, last: bool) -> Iterator[tuple[str, Call]]:
    """The same without what else the layer must be given; those last that set a flag or a window by name."""
    plain = list(plain_ways(block, inputs, layer, last))
    yield from plain
    for name in arguments_of(layer, every=True):
        for value in set_by_name(block, name):
            yield from ((f"{said}, {name}={value}", Always(call, {name: value})) for said, call in plain)


def more_needed(block: Block, layer: Any, call: Call) -> list[str]:
    """The arguments that a layer must be given besides those of a call; and the angles, if it may be given them."""
    known = [*required(layer)[: len(getattr(call, "takes", ()))], *getattr(call, "always", {})]
    needed = [name for name in required(layer) if name not in known]
    turning = turn_of(block) is not None
    return needed + [n for n in arguments_of(layer, every=True) if turning and n in ROTARY and n not in needed]


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
        told = by_letter(layer) is not None  # what comes after two may be something else, unless it says what it is
        for count in range(2, min(asked, 4)) if attends and not told else ():
            yield f"layer({', '.join(parts(layer)[:count])}){title}", in_turn(parts(layer)[:count], layout)


#: flags of a call that make it causal
CAUSAL = ("is_causal", "use_causal_mask", "causal")
#: arguments of a call that set a window
WINDOW = ("window", "window_size", "sliding_window", "local_window", "attention_window", "window_left")


def set_by_name(block: Block, name: str) -> list[Any]:
    """The values of an argument of that name with which a layer may become the block."""
    if name in CAUSAL and is_causal(block):
        return [True]
    left, right = getattr(block, "window_left", None), getattr(block, "window_right", None)
    if name not in WINDOW or left is None:
        return []
    return [left, left + 1, (left, -1 if right is None else right)]


def is_causal(block: Block) -> bool:
    """Is it, or a block among its fields?"""
    return any(getattr(part, "causal", None) is not None for _, part in inside(block))


def hides(argument: str) -> bool:
    """Is an argument a mask or what goes for one, by its name?"""
    return any(word in argument.lower() for word in ("mask", "bias", "length", "valid", "pad"))


class Always:
    """A call with further arguments that are always the same."""

    def __init__(self, call: Call, named: Mapping[str, Any]) -> None:
        self.call, self.always, self.takes = call, dict(named), getattr(call, "takes", ())

    def __call__(self, inputs: Inputs) -> tuple[Sequence[Any], Mapping[str, Any]]:
        arguments, named = self.call(inputs)
        made = {name: x(inputs) if isinstance(x, Made) else x for name, x in self.always.items()}
        return arguments, {**made, **named}


def parts(layer: Any) -> list[str]:
    """In which order a layer of attention takes query, key and value, by the names of its arguments."""
    return by_letter(layer) or ["query", "key", "value"]


def by_letter(layer: Any) -> list[str] | None:
    """The same; None where the first three do not begin as these do."""
    letters = {"q": "query", "k": "key", "v": "value"}
    named = [letters.get(name[:1].lower(), "") for name in arguments_of(layer)[:3]]
    return named if sorted(named) == sorted(letters.values()) else None


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


@dataclass(frozen=True)
class First:
    """The inputs of the first case once more, to be given with what else the layer takes."""

    given: Inputs
    seed: int
    styles: Mapping[str, str] = field(default_factory=dict)

    def inputs(self) -> dict[str, np.ndarray]:
        """The inputs by name."""
        return dict(self.given)

    def empty(self) -> bool:
        """It never is."""
        return False


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
