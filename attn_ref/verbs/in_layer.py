"""Traps in a stranger's layer: would ``conform`` see each of them there, at its tap and line, and name it?

A layer that agrees runs once more for each trap of the catalogue. The operation whose value is the trap's tap gives the
trap's value instead, everything else is computed as before, and ``conform`` is told nothing of it. The layer itself is
not changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.match import MOST_PARTS, laid, laid_back, orders, same, turned, upright
from attn_ref.trace.record import Record, Trace
from attn_ref.traps import OUTPUT, Trap, catalogue, planting, trap, traps
from attn_ref.traps.planting import Planting
from attn_ref.verbs.calling import Call
from attn_ref.verbs.conform import of_first_case
from attn_ref.verbs.tracers import NotATarget
from attn_ref.verbs.verdict import Verdict
from attn_ref.verbs.weights import snapped
from attn_ref.verbs.wired import Runner, Wired, first_that_runs, wired

#: what may come of a trap: conform says that the layer is not the block; it does not, but has found other weights with
#: which the block computes what the layer does; it does not, with the layer's own weights
CAUGHT, ALIAS, MISSED = "caught", "explained by weights", "missed"
#: why a trap cannot be planted
ANOTHER_BLOCK, NO_ACT = "it is another block", "it does not act here"
NO_VALUE, NO_STEP = "no value of the layer is its tap", "no operation of the layer comes after the last tap"
NO_RESULT = "what the layer gives stays the same"
NO_DIFFERENCE = "it changes less than one part in ten million, which one case does not show"


@dataclass(frozen=True)
class Planted:
    """A trap in a layer, and what ``conform`` says of it."""

    trap: str
    #: where it was planted
    tap: str
    line: str
    #: one of the three above
    came: str
    #: what conform names: tap, line and reason; empty where it names none
    first: str = ""
    first_line: str = ""
    reason: str = ""
    #: is the tap the trap's, or the projection that gives it; is the line one at which the layer has the trap's value;
    #: is the reason this trap, or another one that has the same numbers there?
    at_tap: bool = False
    at_line: bool = False
    named: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class InLayer:
    """All traps of a block in one layer."""

    layer: str
    block: str
    planted: list[Planted]
    #: trap -> why it cannot be planted there
    left_out: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class Instead:
    """A tracer in which some operations give another value."""

    def __init__(self, tracer: Any, instead: Mapping[float, np.ndarray]) -> None:
        self.tracer, self.instead = tracer, instead

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tracer, name)

    def trace(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], *limit: int) -> Trace:
        traced: Trace = self.tracer.trace(layer, args, kwargs, *limit, instead=self.instead)
        return traced


class Layer:
    """A layer that agrees with a block, what was found in it, and what asks conform of a trap in it."""

    def __init__(self, layer: Any, block: Block, call: Call | None, seed: int) -> None:
        self.block = block
        self.runner, _, inputs, tried = first_that_runs(layer, block, call, seed, "", silent)
        self.inputs = dict(inputs)
        if "instead" not in inspect.signature(self.runner.tracer.trace).parameters:
            raise NotATarget("traps are planted in layers of torch")
        self.clean = tried[0]
        if not self.clean.agrees:
            verdict, *_ = of_first_case(self.runner, block, self.inputs, call, tried, silent)
            raise ValueError(f"traps are planted in a layer that agrees with its block; this one {verdict}")
        self.weights, _ = snapped(self.clean.best.weights, self.clean.search.trace.parameters)

    def plant(self, row: Trap) -> Planted | str:
        """What conform says of the layer with the trap, or why it cannot be planted."""
        if row.options is not None:
            return ANOTHER_BLOCK
        began, plant = perf_counter(), planting(row, self.block, self.weights, self.inputs)
        if plant is None:
            return NO_ACT
        put = self.values(plant)
        tap = next(iter(put))
        right = self.right(tap)
        if same(put[tap], right):
            return NO_DIFFERENCE
        if tap == OUTPUT and any(x and same(self.right(name), right) for name, x in self.clean.best.taps.items()):
            return NO_STEP
        places = {name: self.places(name, value) for name, value in put.items()}
        if not places[tap]:
            return NO_VALUE
        instead = {number: value for found in places.values() for number, value in found.items()}
        runner = Runner(Instead(self.runner.tracer, instead), self.runner.layer)
        tried = wired(runner, self.block, self.inputs, self.clean.call, silent)
        verdict, found, _ = of_first_case(runner, self.block, self.inputs, self.clean.call, tried, silent)
        lines = self.lines(places[tap])
        base = Planted(row.name, tap, lines[0], MISSED, seconds=perf_counter() - began)
        if verdict.ok and all(map(alike, found.search.outputs, self.clean.search.outputs)):
            return NO_RESULT
        if verdict.ok:
            changed = any(not same(found.best.weights[name], x) for name, x in self.clean.best.weights.items())
            return replace(base, came=ALIAS if changed else MISSED)
        first, own, reason = named(verdict)
        return replace(
            base, came=CAUGHT, first=first, first_line=own, reason=reason,
            at_tap=first == tap or self.gives(first, tap, found), at_line=own in [*lines, *having(found, put[tap])],
            named=reason == row.name or self.like(reason, tap, put[tap]),
        )  # fmt: skip

    def right(self, tap: str) -> np.ndarray:
        """What the block has at a tap, or gives."""
        best = self.clean.best
        return np.asarray(best.output if tap == OUTPUT else best.values[tap].value, np.float64)

    def values(self, plant: Planting) -> dict[str, np.ndarray]:
        """What a trap puts at taps, the output among them, in order."""
        put = {name: np.asarray(tapped.value, np.float64) for name, tapped in plant.replace.items()}
        if plant.output is not None:
            put[OUTPUT] = np.asarray(plant.output(np.asarray(self.clean.best.output)), np.float64)
        return put

    def places(self, tap: str, value: np.ndarray) -> dict[float, np.ndarray]:
        """Number of a record that is the tap -> what it is with ``value`` there; one for each head, where it is so."""
        right = self.right(tap)
        if found := self.place(right, value, None if tap == OUTPUT else self.clean.best.taps.get(tap)):
            return found
        if right.ndim != 4 or not 1 < right.shape[1] <= MOST_PARTS:
            return {}
        heads = [self.place(right[:, i], value[:, i]) for i in range(right.shape[1])]
        return {number: x for head in heads for number, x in head.items()} if all(heads) else {}

    def place(self, right: np.ndarray, value: np.ndarray, record: Record | None = None) -> dict[float, np.ndarray]:
        """The same for one record, and for others that the same line gave with the same numbers."""
        if record is None:
            seen = self.clean.search.finder.find(right)
            record = seen[0] if seen else None
        if record is None:
            return {}
        meant = upright(record.value.shape, right.shape)
        every = [*([] if meant is None else [meant]), *orders(record.value.shape, right.shape)]
        order = next((one for one in every if same(laid(record.value, right.shape, one), right)), None)
        if order is None:
            return {}
        new = laid_back(value, record.value.shape, order)
        return {
            other.number: new
            for other in self.clean.search.trace.records
            if (other.line, other.operation) == (record.line, record.operation) and same(other.value, record.value)
        }

    def lines(self, places: Mapping[float, np.ndarray]) -> list[str]:
        """The lines that give what stands in these places."""
        found = [x for x in self.clean.search.trace.records if x.number in places]
        return list(dict.fromkeys(x.line.short if x.line else "" for x in found))

    def gives(self, first: str, tap: str, found: Wired) -> bool:
        """Is ``first`` the projection that gives the tap, whose weights could not be read off?"""
        reached = [name for name in self.clean.best.values if name in found.best.values]
        after = [name for name in self.clean.best.values if name not in reached]
        return bool(found.best.stuck) and found.best.stuck.rpartition(".")[0] == first and after[:1] == [tap]

    def like(self, other: str, tap: str, value: np.ndarray) -> bool:
        """Has the trap called ``other`` the same value at the tap?"""
        row = catalogue().get(other)
        plant = planting(row, self.block, self.weights, self.inputs) if row and row.options is None else None
        return plant is not None and (there := self.values(plant).get(tap)) is not None and same(there, value)


def in_layer(
    layer: Any, block: Block, names: Sequence[str] | None = None, *, call: Call | None = None, seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> InLayer:  # fmt: skip
    """Plant the traps of the block, or those called ``names``, in a layer of torch that agrees with it.

    NotATarget where the layer is not one of torch, ValueError where it does not agree, or for an unknown name.
    """
    rows = [trap(name) for name in names] if names is not None else traps(block)
    host = Layer(layer, block, call, seed)
    found = InLayer(type(layer).__name__, str(block), [], {})
    for n, row in enumerate(rows):
        progress(n, len(rows), row.name)
        came = host.plant(row)
        if isinstance(came, Planted):
            found.planted.append(came)
        else:
            found.left_out[row.name] = came
    progress(len(rows), len(rows), "done")
    return found


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Are two outputs the same, NaN where the other is?"""
    lost = np.isnan(b)
    return bool(np.array_equal(lost, np.isnan(a))) and same(np.where(lost, 0, a), np.where(lost, 0, b))


def named(verdict: Verdict) -> tuple[str, str, str]:
    """The tap, the line and the reason that a verdict names first."""
    if not verdict.places:
        return "", "", ""
    first = verdict.places[0]
    return first.tap, first.line.short if first.line else "", verdict.trap or ""


def having(found: Wired, value: np.ndarray) -> list[str]:
    """The lines at which the layer has a value, in any order of axes: where a step is left out, others give it."""
    every = found.search.finder.of_size(value.size)
    return [r.line.short for r in every if r.line and any(same(x, value) for x in turned(r.value, value.shape))]


def silent(what: str) -> None:
    """Hears what is done, and says nothing."""
