"""The search for what a traced layer is: which values are the taps of a block, and where the two part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import Probe, Tapped, full_name, probe, replace
from attn_ref.tap import record as recording
from attn_ref.trace.asked import NotSolved
from attn_ref.trace.loops import stacked
from attn_ref.trace.match import MOST_PARTS, Finder, same, turned
from attn_ref.trace.primitives import solving
from attn_ref.trace.record import Record, Trace
from attn_ref.trace.wiring import Solver
from attn_ref.weights import Weights

#: runs of the reference that a search may take
RUNS = 400
#: runs without a better one after which no others are tried, if values that are no projections are met
ENOUGH = 40
#: how labels end of maps that are stacked as features, in an order of no meaning
MAPS = " p"
#: the tap of angles of rotary positions
ANGLES = "angles"


@dataclass
class Attempt:
    """One run of the reference under certain choices."""

    decisions: list[int]
    #: how many options there were at each choice
    widths: list[int] = field(default_factory=list)
    #: tap -> the record that is its value, or None; in order
    taps: dict[str, Record | None] = field(default_factory=dict)
    values: dict[str, Tapped] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    read: dict[str, Record] = field(default_factory=dict)
    output: np.ndarray | None = None
    ok: bool = False
    #: the parameter that could not be read off any value
    stuck: str = ""
    #: the taps that the layer has with two axes exchanged
    exchanged: set[str] = field(default_factory=set)
    #: the taps whose stacked maps the layer has in another order: its kernels lie in that order
    reordered: set[str] = field(default_factory=set)

    @property
    def met(self) -> int:
        """How many taps the layer has, one whose axes are exchanged for a third, and the output."""
        return 3 * sum(x is not None for x in self.taps.values()) - 2 * len(self.exchanged) + 1000 * self.ok

    @property
    def evidence(self) -> int:
        """How many taps it has besides those at which weights were read off, and those with axes exchanged."""
        found = sum(x is not None for x in self.taps.values())
        return found - len({n.rpartition(".")[0] for n in self.read}) - len(self.exchanged)

    @property
    def last(self) -> Record | None:
        """The last value that both have."""
        found = [record for record in self.taps.values() if record is not None]
        return max(found, key=lambda record: record.number, default=None)


class Matching(Probe):
    """Looks every tap up among the records, and puts values of the layer in the place of some."""

    def __init__(
        self, attempt: Attempt, finder: Finder, stand_ins: Mapping[str, np.ndarray], memory: dict[Any, Any],
        given: list[np.ndarray],
    ) -> None:  # fmt: skip
        super().__init__()
        self.attempt, self.finder, self.stand_ins, self.memory, self.given = attempt, finder, stand_ins, memory, given

    def __call__(self, name: str, value: Any, labels: str) -> Any:
        name = full_name(name)
        self.attempt.values[name] = Tapped(value, labels)
        if name in self.stand_ins:
            self.attempt.taps[name] = None
            return self.stand_ins[name]
        real = np.asarray(value, np.float64)
        # ones and zeros say nothing: a keep of a dropout, what a mask leaves
        plain = real.size == 0 or np.all(real == real.flat[0])
        if not plain:
            found = self.found(real)
            if not found and labels.endswith(MAPS) and (found := self.found(real[..., ::-1])):
                self.attempt.reordered.add(name)
                self.given.append(real)
            if not found and name.rpartition(".")[2] == ANGLES:  # their cosines and sines may be all that is kept
                found = self.found(np.cos(real)) and self.found(np.sin(real))
            self.attempt.taps[name] = found[0] if found else None
            if found and not found[1]:
                self.attempt.exchanged.add(name)
        return value

    def found(self, value: np.ndarray) -> tuple[Record, bool] | None:
        """The record of a value, and whether its axes lie as they do there; every value is looked up once."""
        key = ("find", value.shape, value.tobytes())
        if key not in self.memory:
            found = self.finder.find(value)
            if found is None and (part := self.finder.find_parts(value)):
                found = part, True
            self.memory[key] = found
        return self.memory[key]  # type: ignore[no-any-return]


class Search:
    """Runs the reference under choices, the most promising first."""

    def __init__(
        self,
        block: Block,
        inputs: Mapping[str, np.ndarray],
        trace: Trace,
        outputs: Sequence[np.ndarray],
        known: Mapping[str, np.ndarray] | None = None,
        like: Search | None = None,
    ) -> None:
        """``known``: weights that are not looked for. ``like``: another search in this trace, for another block."""
        self.known = dict(known or {})
        self.block, self.inputs, self.trace, self.outputs = block, dict(inputs), trace, list(outputs)
        every = [*trace.records, *stacked(trace.records)] if like is None else []
        self.finder: Finder = Finder(every, trace.faint) if like is None else like.finder
        #: what was found of values, whichever block asks; and what depends on what in this block
        self.memory: dict[Any, Any] = {} if like is None else like.memory
        self.behind: dict[str, set[str]] = {}
        self.runs = 0
        self.shapes = {name: param.shape for name, param in block.params().items()}

    def expected(self) -> list[str]:
        """The taps of the block, for these inputs."""
        with recording() as taps, np.errstate(all="ignore"), suppress(ValueError):  # of inputs that do not fit
            self.block(self.block.init(), **self.inputs)
        return list(taps)

    def attempt(self, decisions: Sequence[int], stand_ins: Mapping[str, np.ndarray]) -> Attempt:
        """One run."""
        self.runs += 1
        made = Attempt(list(decisions))

        def choose(name: str, options: Sequence[Any]) -> Any:
            # what is new comes first: queries, keys and values are seldom one value
            used = {record.number for record in made.read.values()}
            fresh = [o for o in options if o[0].number not in used]
            ordered = [*fresh, *(o for o in options if o[0].number in used)]
            at = len(made.widths)
            made.widths.append(len(ordered))
            if at == len(made.decisions):
                made.decisions.append(0)
            made.read[name] = ordered[made.decisions[at]][0]
            return ordered[made.decisions[at]]

        given = [np.asarray(x) for x in (*self.inputs.values(), *stand_ins.values())]
        solver = Solver(self.shapes, self.finder, choose, self.memory, self.trace.parameters, given)
        solver.found = dict(self.known)
        try:
            with (
                solving(solver),
                probe(Matching(made, self.finder, stand_ins, self.memory, given)),
                np.errstate(all="ignore"),
            ):
                made.output = self.block.forward(solver.weights(), **self.inputs)
        except NotSolved as stuck:
            made.stuck = str(stuck)
        except (ValueError, IndexError, TypeError, ArithmeticError, np.linalg.LinAlgError) as error:  # it leads nowhere
            made.stuck = f"{type(error).__name__}: {error}"
        made.weights, made.read = solver.found, solver.read
        if made.output is not None:
            made.ok = any(same(x, made.output) for y in self.outputs for x in turned(y, made.output.shape))
        return made

    def best(self, stand_ins: Mapping[str, np.ndarray], runs: int = RUNS, start: Sequence[int] = ()) -> Attempt:
        """The run that meets the layer at most taps, of the choices from ``start`` on that there is time for."""
        best = current = self.attempt(start, stand_ins)
        since = 0
        for _ in range(runs):
            since += 1
            if best.ok or (since > ENOUGH and best.evidence > 0):
                break
            decisions = following(current)
            if decisions is None:
                break
            current = self.attempt(decisions, stand_ins)
            if current.met > best.met:
                best, since = current, 0
        return best

    def first(self, attempt: Attempt, stand_ins: Mapping[str, np.ndarray]) -> str | None:
        """The first tap that nobody computed, and on which no value depends that somebody did.

        Others are inside a step that a layer takes at once, such as a norm.
        """
        for tap, record in attempt.taps.items():
            if record is None and tap not in stand_ins and not self.met_behind(attempt, tap):
                return tap
        return None

    def met_behind(self, attempt: Attempt, tap: str) -> bool:
        """Has the layer a value that depends on this tap?"""
        if tap not in self.behind:
            weights = self.block.init() | attempt.weights
            runs = []
            for factor in (1.0, 1.01):
                with np.errstate(all="ignore"), replace({tap: lambda x, factor=factor: x * factor}) as taps:
                    self.block.forward(Weights(weights), **self.inputs)
                runs.append({name: np.asarray(x.value) for name, x in taps.items()})
            one, two = runs
            self.behind[tap] = {n for n in one if n != tap and not np.array_equal(one[n], two[n], equal_nan=True)}
        return any(attempt.taps.get(name) is not None for name in self.behind[tap])

    def stands_for(self, attempt: Attempt, tap: str) -> list[tuple[Record, np.ndarray]]:
        """The values that may stand in the place of a tap: of its size, none older than the last that both have."""
        value = attempt.values[tap].value
        last = attempt.last.number if attempt.last else -1
        found: list[tuple[Record, np.ndarray]] = []
        for record in self.finder.of_size(value.size, last - 1):
            for turn in turned(record.value, value.shape):
                if not any(same(turn, other) for _, other in found):
                    found.append((record, turn))
        return found or [*self.heads_for(value, last)]

    def heads_for(self, value: np.ndarray, last: float) -> Iterator[tuple[Record, np.ndarray]]:
        """The same, of values that one line gave head by head."""
        if value.ndim != 4 or not 1 < value.shape[1] <= MOST_PARTS:
            return
        lines: dict[Any, list[Record]] = {}
        for record in self.finder.of_size(value.size // value.shape[1]):
            lines.setdefault((record.line, record.operation), []).append(record)
        for group in lines.values():
            if len(group) == value.shape[1] and group[-1].number >= last:
                shape = (len(value), *value.shape[2:])
                for turns in zip(*(turned(record.value, shape) for record in group), strict=False):
                    yield group[-1], np.stack(turns, axis=1)


def following(attempt: Attempt) -> list[int] | None:
    """The next choices after those of ``attempt``; None when there are no others."""
    decisions = attempt.decisions[: len(attempt.widths)]
    while decisions:
        decisions[-1] += 1
        if decisions[-1] < attempt.widths[len(decisions) - 1]:
            return decisions
        decisions.pop()
    return None
