"""Is the layer the block with another option?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from itertools import chain
from typing import Any

import numpy as np

from attn_ref.block import Block, written
from attn_ref.option import options
from attn_ref.tap import Tapped, record
from attn_ref.tap import replace as replaced
from attn_ref.trace.came import taker
from attn_ref.trace.faults import Fault
from attn_ref.trace.known import Given, known_trap, of_option, settings, told
from attn_ref.trace.match import same
from attn_ref.trace.read_off import read_off
from attn_ref.trace.reason import Changes, Reason
from attn_ref.trace.search import Attempt, Search

#: what people set eps to
EPS = (1e-12, 1e-8, 1e-6, 1e-5, 1e-3)
#: and bases of rotary positions
BASES = (10000.0, 100.0, 500000.0, 1000000.0)


def instead(search: Search, met: int) -> tuple[Attempt, Fault, Reason] | None:
    """The block with one option changed that the layer is, where the block itself was met at so many taps.

    For deviations behind which nothing can be read off any more, such as the eps of a first norm.
    """
    best: tuple[Attempt, str, Any, Block] | None = None
    others: list[tuple[str, Any, Block]] = []
    for name, value in alternatives(search.block):
        with suppress(Exception):  # of options that do not go together
            others.append((name, value, rebuilt(search.block, name, value)))
    # first those with the same weights: a block without a norm takes it into the kernel before, whatever its eps
    names = set(search.block.params())
    for name, value, other in sorted(others, key=lambda one: set(one[2].params()) != names):
        try:
            found = Search(other, search.inputs, search.trace, search.outputs, like=search)
        except Exception:  # as above
            continue
        attempt = found.best({}, 60)
        if attempt.met > max(met, best[0].met if best else 0):
            best = attempt, name, value, other
        if attempt.ok:
            break
    if best is None or not best[0].ok:
        return None
    attempt, name, value, other = best
    ours: dict[str, Tapped] = {}
    with suppress(Exception):  # it may have other weights
        ours = run(search.block, attempt.weights, search.inputs, {})
    theirs = attempt.values
    differs = next((t for t in theirs if t not in ours or not alike(ours[t].value, theirs[t].value)), None)
    tap = differs or next(reversed(theirs))
    record = attempt.taps.get(tap) or next((r for t, r in attempt.taps.items() if r and after(theirs, t, tap)), None)
    lost = next((t for t in ours if t not in theirs), None)
    if lost is not None and (differs is None or after(ours, tap, lost)):  # a step of the block that the layer has not
        kept = [r for t, r in attempt.taps.items() if r and after(ours, lost, t)]
        tap, record = lost, taker(search.trace, kept[-1]) if kept else record
    given = Given(search.block, attempt.weights, search.inputs, {})
    trap = of_option(owner(search.block, name), name.rpartition(".")[2], value)
    if trap is None and differs and (found_there := known_trap(given, differs, np.asarray(theirs[differs].value))):
        trap, _ = found_there
    changes = ((name, value),)
    why = told(trap, changes) if trap else phrased(search.block, changes)
    return attempt, Fault(tap, record, None, np.zeros(0), attempt), why


def alike(a: Any, b: Any) -> bool:
    """Are two taps equal?"""
    return np.shape(a) == np.shape(b) and same(np.asarray(a, np.float64), np.asarray(b, np.float64))


def after(values: Mapping[str, Any], tap: str, first: str) -> bool:
    """Does a tap come after another?"""
    names = list(values)
    return tap in names and names.index(tap) > names.index(first)


def other_options(
    search: Search, fault: Fault, stand_ins: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> Iterator[tuple[Changes, np.ndarray]]:
    """(options with other values, what the block with them has at the tap): one, or those that are read off there."""
    block, theirs = search.block, fault.theirs
    singles: Iterator[Changes] = (((name, value),) for name, value in alternatives(block))
    several = read_off(block, search.inputs, fault.tap, fault.ours, theirs) if theirs is not None else iter(())
    for changes in chain(singles, several):
        try:
            other = changed(block, changes)
            taps = run(other, {**weights, **fault.attempt.weights}, search.inputs, stand_ins)
        except Exception:  # of options that do not go together, or that want other weights
            continue
        there = at(taps, fault.tap)
        if there is not None:
            yield changes, there


def changed(block: Block, changes: Changes) -> Block:
    """The block with those options."""
    for name, value in changes:
        block = rebuilt(block, name, value)
    return block


def phrased(block: Block, changes: Changes) -> Reason:
    """Other values of options as a reason."""
    theirs = " and ".join(f"{name} = {written(value)}" for name, value in changes)
    ours = " and ".join(str(written(part_of(block, name))) for name, _ in changes)
    fix = f"{settings(changes)}, if that is what is meant; otherwise change the layer"
    names = ",".join(name for name, _ in changes)
    return Reason(f"option:{names}", f"the layer has {theirs}, where the block says {ours}", fix, changes)


def at(taps: Mapping[str, Tapped], tap: str) -> np.ndarray | None:
    """The value at a tap; where nothing is masked that of the scores."""
    scope, _, name = tap.rpartition(".")
    for other in (name, "biased", "scores") if name == "masked" else (name,):
        full = f"{scope}.{other}".lstrip(".")
        if full in taps:
            return np.asarray(taps[full].value)
    return None


def part_of(block: Block, path: str) -> Any:
    """The option ``attention.causal`` of the block inside."""
    for name in path.split("."):
        block = getattr(block, name)
    return block


def owner(block: Block, path: str) -> Block:
    """The block, itself or inside, whose option ``attention.causal`` is."""
    outer = path.rpartition(".")[0]
    found = part_of(block, outer) if outer else block
    assert isinstance(found, Block)
    return found


def rebuilt(block: Block, path: str, value: Any) -> Block:
    """The block with that option, of itself or of a block among its fields."""
    outer, _, inner = path.partition(".")
    return replace(block, **{outer: rebuilt(getattr(block, outer), inner, value) if inner else value})


def alternatives(block: Block, before: str = "") -> Iterator[tuple[str, Any]]:
    """(option, another value) of a block, then of the blocks among its fields."""
    for field in fields(block):
        said = options(type(block)).get(field.name)
        now = getattr(block, field.name)
        if isinstance(now, Block):
            yield from alternatives(now, f"{before}{field.name}.")
        if said is None or isinstance(now, Block):
            continue
        option, types = said
        known: list[Any] = [*option.choices, *option.draw]
        if not isinstance(option.witness, dict) and isinstance(option.witness, str | int | float | bool | None):
            known.append(option.witness)
        known += [True, False] if "bool" in types else []
        known += [None] if "None" in types else []
        known += EPS if field.name.endswith("eps") else BASES if field.name.endswith("base") else []
        for value in dict.fromkeys(value for value in known if not isinstance(value, Block)):
            if (type(value), value) != (type(now), now) and option.fits(value, types):
                yield f"{before}{field.name}", value


def run(
    block: Block, weights: Mapping[str, np.ndarray], inputs: Mapping[str, Any], stand_ins: Mapping[str, np.ndarray]
) -> dict[str, Tapped]:
    """The taps of a block."""
    # what comes after the place needs no weights
    given = {name: weights.get(name, np.zeros(param.shape)) for name, param in block.params().items()}
    names = {name: (lambda x, value=value: value) for name, value in stand_ins.items()}
    with np.errstate(all="ignore"), replaced(names) if names else record() as taps:
        block(given, **inputs)
    return dict(taps)
