"""Planting a trap: on the reference, and as arrays at taps, so that every mirror has it too.

The reference runs while every block in it tells its inputs and weights, so that a trap's value can be computed at a tap
from what its own block has there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import Probe, Tapped, full_name, probe
from attn_ref.traps.definition import OUTPUT, Absent, Here, Inputs, Trap, Value

#: what may stand at a tap instead; None: what is there
Change = Callable[[Here], np.ndarray | None]


class Call(NamedTuple):
    """A block that runs: the names that lead to it, what it was given, and its taps so far."""

    block: Block
    scope: str
    inputs: Inputs
    weights: Any
    taps: dict[str, np.ndarray]


class Watch(Probe):
    """Tells ``change`` of every tap, puts there what it gives, and keeps that in ``put``."""

    def __init__(self, change: Change, given: Mapping[str, Tapped] | None = None) -> None:
        super().__init__(replace=given)
        self.change, self.calls, self.put = change, list[Call](), dict[str, Tapped]()
        #: what comes out of the whole block is a place too, once it is there
        self.whole: Call | None = None

    def __call__(self, name: str, value: Any, labels: str) -> Any:
        full, call = full_name(name), self.calls[-1]
        if full in self.replace:
            value = super().__call__(name, value, labels)
        else:
            new = self.change(self.here(call, full, np.asarray(value), labels))
            if new is not None:
                self.put[full] = Tapped(new, labels)
                value = new
            value = super().__call__(name, value, labels)
        for outer in self.calls:
            inside = full.removeprefix(f"{outer.scope}.") if outer.scope else full
            outer.taps[inside] = np.asarray(value)
        return value

    @staticmethod
    def here(call: Call, full: str, value: np.ndarray, labels: str) -> Here:
        name = full.removeprefix(f"{call.scope}.") if call.scope else full
        return Here(call.block, call.scope, name, value, labels, call.inputs, call.weights, call.taps)


def parts(block: Block) -> Iterator[Block]:
    """A block, and all that run inside it, each once."""
    seen: dict[int, Block] = {}

    def visit(found: Any) -> None:
        if isinstance(found, tuple):
            for each in found:
                visit(each)
        if not isinstance(found, Block) or id(found) in seen:
            return
        seen[id(found)] = found
        made = [name for name in dir(type(found)) if isinstance(getattr(type(found), name, None), cached_property)]
        for name in [*found.fields(), *made]:
            visit(getattr(found, name))

    visit(block)
    yield from seen.values()


@contextmanager
def watching(block: Block, watch: Watch) -> Iterator[None]:
    """While it lasts, ``watch`` hears the taps of the block and knows which of its parts runs, and on what."""
    every = [*parts(block)]

    def told(part: Block) -> Callable[..., Any]:
        forward = type(part).forward

        def call(w: Any, *args: Any, **kwargs: Any) -> Any:
            bound = inspect.signature(forward).bind(part, w, *args, **kwargs).arguments
            inputs = {name: x for name, x in bound.items() if name not in ("self", "w") and x is not None}
            for name, spec in part.inputs.items():
                if name not in inputs and spec.default in inputs:
                    inputs[name] = inputs[spec.default]
            watch.calls.append(Call(part, full_name("").rstrip("."), inputs, w, {}))
            try:
                return forward(part, w, *args, **kwargs)
            finally:
                watch.whole = watch.calls.pop()

        return call

    for part in every:
        vars(part)["forward"] = told(part)
    try:
        with probe(watch):
            yield
    finally:
        for part in every:
            del vars(part)["forward"]


def run(block: Block, weights: Mapping[str, Any], inputs: Inputs, watch: Watch) -> np.ndarray:
    """What comes out while ``watch`` hears, and changes; the output is a place, too."""
    with np.errstate(all="ignore"), watching(block, watch):
        output = np.asarray(block(weights, **inputs))
    assert watch.whole is not None
    new = watch.change(watch.here(watch.whole, OUTPUT, output, ""))
    if new is not None:
        watch.put[OUTPUT] = Tapped(new, "")
    return output if new is None else new


def matches(name: str, pattern: str) -> bool:
    """Is a tap's name one of those that a trap says?"""
    return any(fnmatchcase(name, one) for one in pattern.split("|"))


def computed(value: Value, here: Here) -> np.ndarray | None:
    """What a trap has at a tap; None where it does not apply there."""
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(value(here))
    except (Absent, ValueError, IndexError):  # what it needs is not there, or has other sizes
        return None
    return found.astype(here.right.dtype, copy=False) if found.shape == here.right.shape else None


def changing(trap: Trap) -> Change:
    """What a trap has at every tap where it acts."""
    begun: set[str] = set()

    def change(here: Here) -> np.ndarray | None:
        if type(here.block).__name__ not in trap.blocks:
            return None
        for pattern, value in trap.values.items():
            if matches(here.name, pattern) and (pattern == trap.at or here.scope in begun):
                found = computed(value, here)
                if found is not None and not np.array_equal(found, here.right):
                    begun.add(here.scope)
                    return found
        return None

    return change


@dataclass(frozen=True)
class Planting:
    """What a trap makes of a case: what is built, given and put at taps, on the reference or on a mirror."""

    block: Block
    inputs: Inputs
    add: Mapping[str, Tapped] = field(default_factory=dict)
    replace: Mapping[str, Tapped] = field(default_factory=dict)
    #: what came out -> what comes out
    output: Callable[[np.ndarray], np.ndarray] | None = None


def planting(trap: Trap, block: Block, weights: Mapping[str, Any], inputs: Inputs) -> Planting | None:
    """The trap in this case; None where it does not act."""
    given = {name: np.asarray(x) for name, x in inputs.items()}
    if trap.options is not None:
        other = with_options(trap, block)
        fits = other is not None and {n: p.shape for n, p in other.params().items()} == shapes(block)
        return Planting(other, given) if other is not None and fits else None
    if trap.values:
        watch = Watch(changing(trap))
        run(block, weights, given, watch)
        put = {name: tapped for name, tapped in watch.put.items() if name != OUTPUT}
        output = watch.put[OUTPUT].value if OUTPUT in watch.put else None
        last = None if output is None else (lambda y: output)
        return Planting(block, given, replace=put, output=last) if watch.put else None
    given = trap.inputs(given) if trap.inputs else given
    add, put = (make(block, weights, given) if make else {} for make in (trap.add, trap.replace))
    return Planting(block, given, add, put, trap.output)


def with_options(trap: Trap, block: Block) -> Block | None:
    """The block with the options of the trap; None where it has them already, or cannot."""
    options = dict(trap.options or {})
    if type(block).__name__ not in trap.blocks or all(getattr(block, name) == x for name, x in options.items()):
        return None
    try:
        return replace(block, **options)
    except ValueError:
        return None


def shapes(block: Block) -> dict[str, tuple[int, ...]]:
    """The shapes of a block's parameters."""
    return {name: param.shape for name, param in block.params().items()}


class Planted(NamedTuple):
    """What the reference gives with a trap."""

    output: np.ndarray
    taps: dict[str, Tapped]


def planted(trap: Trap, block: Block, weights: Mapping[str, Any], inputs: Inputs) -> Planted:
    """The reference with the trap: what comes out, and every tap. ValueError where the trap does not act."""
    plant = planting(trap, block, weights, inputs)
    if plant is None:
        raise ValueError(f"the trap {trap.name} does not act on {block} with these inputs; {acts_on(trap)}")
    with np.errstate(all="ignore"), probe(Probe(add=plant.add, replace=plant.replace)) as heard:
        output = np.asarray(plant.block(weights, **plant.inputs))
    return Planted(plant.output(output) if plant.output else output, heard.seen)


def acts_on(trap: Trap) -> str:
    """Where a trap acts, in words."""
    where = " and ".join(trap.blocks) or "what its seed system is"
    return f"it acts on {where}, as in {trap.shows().block}" if trap.shows else f"it acts on {where}"


def applies(trap: Trap, block: Block) -> bool:
    """Has the block, or one inside it, a place where the trap may act?"""
    own = [block] if trap.options is not None else parts(block)
    return any(type(part).__name__ in trap.blocks for part in own)
