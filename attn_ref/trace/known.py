"""Is the value at a tap that of a trap of the catalogue?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.match import same
from attn_ref.trace.reason import Changes, Reason
from attn_ref.traps import OUTPUT, Here, Trap, applies, catalogue
from attn_ref.traps.planting import Watch, changing, computed, matches, run

Values = Mapping[str, np.ndarray]


class Given:
    """The reference as far as it is known: a block, weights, inputs, and the layer's values in the place of some."""

    def __init__(self, block: Block, weights: Values, inputs: Mapping[str, Any], stand_ins: Values) -> None:
        self.block, self.inputs = block, {name: np.asarray(x) for name, x in inputs.items()}
        # what comes after the place needs no weights
        self.weights = {name: weights.get(name, np.zeros(param.shape)) for name, param in block.params().items()}
        self.stand_ins: dict[str, Any] = {name: (lambda x, value=value: value) for name, value in stand_ins.items()}

    def run(self, watch: Watch) -> bool:
        """Can it be run?"""
        try:
            run(self.block, self.weights, self.inputs, watch)
        except (ValueError, IndexError):
            return False
        return True

    def here(self, tap: str) -> Here | None:
        """The tap, and what is known there; None where the block has none such."""
        found: list[Here] = []

        def look(here: Here) -> None:
            full = OUTPUT if here.name == OUTPUT and not here.scope else f"{here.scope}.{here.name}".lstrip(".")
            if full == tap:
                found.append(here)

        self.run(Watch(look, self.stand_ins))
        return found[0] if found else None


def known_trap(given: Given, tap: str, theirs: np.ndarray) -> tuple[Trap, str] | None:
    """The first trap that gives the layer's value, and the tap at which it acts: this one, or one before it."""
    here = given.here(tap)
    if here is None:
        return None
    rows = [row for row in catalogue().values() if row.values and applies(row, given.block)]
    at_once = ((row, value, tap) for row, value in at_the_tap(rows, here))
    found = chain(at_once, from_before(rows, given, tap))
    return next(((row, where) for row, value, where in found if gives(value, theirs)), None)


def known_elsewhere(given: Given, tap: str, values: Sequence[np.ndarray]) -> tuple[Trap, int] | None:
    """The first trap at this tap that gives one of several values, and which of them."""
    here = given.here(tap)
    if here is None:
        return None
    for row, value in at_the_tap([*catalogue().values()], here):
        for n, theirs in enumerate(values):
            if gives(value, theirs):
                return row, n
    return None


def at_the_tap(rows: Sequence[Trap], here: Here) -> Iterator[tuple[Trap, np.ndarray]]:
    """What traps have at their tap."""
    for row in rows:
        if type(here.block).__name__ in row.blocks:
            for pattern, value in row.values.items():
                if matches(here.name, pattern) and (found := computed(value, here)) is not None:
                    yield row, found


def from_before(rows: Sequence[Trap], given: Given, tap: str) -> Iterator[tuple[Trap, np.ndarray, str]]:
    """What becomes of them at a later one, and the first tap at which they act."""
    for row in rows:
        watch = Watch(changing(row), given.stand_ins)
        if given.run(watch) and watch.put and tap not in watch.put and tap in watch.seen:
            yield row, np.asarray(watch.seen[tap].value), next(iter(watch.put))


def gives(value: np.ndarray | None, theirs: np.ndarray) -> bool:
    """Is it the layer's value? Where one is NaN the other is."""
    if value is None or value.shape != theirs.shape:
        return False
    lost = np.isnan(value)
    if not lost.any():
        return same(theirs, value)
    return bool(np.array_equal(lost, np.isnan(theirs))) and same(np.where(lost, 0, theirs), np.where(lost, 0, value))


def of_option(owner: Block, option: str, value: Any) -> Trap | None:
    """The trap that is this option of a block."""
    rows = (row for row in catalogue().values() if type(owner).__name__ in row.blocks)
    return next((row for row in rows if row.options == {option: value}), None)


def told(trap: Trap, changes: Changes = ()) -> Reason:
    """The trap as a reason; ``changes``: the options of the block that are the same."""
    meant = f"{settings(changes)}, if that is what is meant; otherwise " if changes else ""
    return Reason(trap.name, trap.says, meant + trap.fix, changes)


def settings(changes: Changes) -> str:
    """Options as one gives them to a command."""
    return " ".join(f"--set {name}={value}" for name, value in changes)
