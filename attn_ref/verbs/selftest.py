"""``ar.selftest()``: the check itself is measured, against every trap of the catalogue planted in every mirror.

A trap is planted in its own small case through ``Backend.run``. The check's comparison must find the mirror off by more
than the derived tolerance, first at the trap's tap. Clean cases, the same ones and drawn ones, must raise no alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from attn_ref.backend import Backend
from attn_ref.check.cases import cases
from attn_ref.check.compare import compare
from attn_ref.check.gaps import gaps_for, units
from attn_ref.check.judge import Outcome, judge
from attn_ref.check.tolerance import LIMIT, OUTPUT, Truth
from attn_ref.engines import MissingBackend, backend, backends
from attn_ref.tap import Tapped
from attn_ref.traps import Trap, families, planting, trap, traps
from attn_ref.traps.planting import Planting, matches

#: the engines that are tested unless others are named, and the dtype, in which meaning is decided
ENGINES, DTYPE = ("torch", "tensorflow"), "float64"
#: drawn clean cases of its block that go with every trap
CLEAN = 2
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Trial:
    """One trap in one mirror, and the clean cases that go with it."""

    trap: str
    family: str
    engine: str
    #: the tap at which the trap shows, ``*`` for any part, ``|`` between several
    at: str
    caught: bool
    #: is the first tap that differs the trap's?
    placed: bool
    first: str
    detail: str
    clean: int
    #: clean cases in which something differs, each with what differs
    alarms: list[str]
    seconds: float

    @property
    def ok(self) -> bool:
        """Caught at its tap, and no false alarm."""
        return self.caught and self.placed and not self.alarms


@dataclass(frozen=True)
class Family:
    """What came of the traps of a family on all engines."""

    title: str
    traps: int = 0
    planted: int = 0
    caught: int = 0
    placed: int = 0
    clean: int = 0
    alarms: int = 0
    seconds: float = 0.0


@dataclass
class Selftest:
    """What came of it."""

    engines: list[str]
    trials: list[Trial] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Was all as it should be?"""
        return all(trial.ok for trial in self.trials)

    def families(self) -> list[Family]:
        """Family by family, in the catalogue's order."""
        titles = dict.fromkeys(trial.family for trial in self.trials)
        return [summed(title, [trial for trial in self.trials if trial.family == title]) for title in titles]

    def total(self) -> Family:
        """All families as one."""
        return summed("all", self.trials)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        families = [asdict(family) for family in self.families()]
        return {
            "ok": self.ok, "engines": self.engines, "families": families, "total": asdict(self.total()),
            "trials": [asdict(trial) for trial in self.trials],
        }  # fmt: skip


def summed(title: str, trials: Sequence[Trial]) -> Family:
    """A row of the table."""
    return Family(
        title, len({trial.trap for trial in trials}), len(trials), sum(trial.caught for trial in trials),
        sum(trial.placed for trial in trials), sum(trial.clean for trial in trials),
        sum(len(trial.alarms) for trial in trials), sum(trial.seconds for trial in trials),
    )  # fmt: skip


def selftest(
    *names: str, block: str | None = None, engines: Iterable[str] | None = None, clean: int = CLEAN,
    progress: Progress = lambda done, total, what: None,
) -> Selftest:  # fmt: skip
    """Plant the traps called ``names``, those of a ``block``, or all, and count what the check's comparison catches.

    ``engines``: by default torch and tensorflow, as far as they are installed. ``clean``: drawn clean cases that go
    with every trap, besides its own case. ``progress(done, total, what)`` hears how far it is.

    Raises ValueError for an unknown name and MissingBackend for an engine that is not installed.
    """
    if clean < 0:
        raise ValueError(f"clean counts cases, so it is not negative; got {clean}")
    if names and block:
        raise ValueError("give names of traps or a block, not both")
    rows = [trap(name) for name in names] if names else traps(block)
    found = Selftest(chosen(engines))
    total = len(rows) * len(found.engines)
    for engine in found.engines:
        served = backend(engine)
        for row in rows:
            progress(len(found.trials), total, f"{engine}: {row.name}")
            found.trials.append(trial(row, served, clean))
    progress(total, total, "done")
    return found


def chosen(engines: Iterable[str] | None) -> list[str]:
    """The engines, the usual ones where none is named."""
    if engines is not None:
        wanted = list(dict.fromkeys(engines))
        for engine in wanted:
            if engine not in backends():
                backend(engine)  # an unknown one, or a layer of another library
                raise ValueError(f"traps are planted in mirrors; {engine} is none: name one of {', '.join(backends())}")
        return wanted
    known = backends()
    usual = [engine for engine in ENGINES if engine in known and known[engine].version(engine) is not None]
    if not usual:
        raise MissingBackend("there is no mirror to plant traps in: pip install 'attn_ref[torch]' or 'attn_ref[keras]'")
    return usual


def trial(row: Trap, served: Backend, clean: int) -> Trial:
    """One trap in one mirror."""
    assert row.shows is not None
    began = perf_counter()
    block, inputs = row.shows()
    weights = block.init()
    right = Truth(block, weights, inputs, DTYPE, units(gaps_for(served.engine, DTYPE)), runs=0)
    plant = planting(row, block, weights, inputs)
    if plant is None:
        raise RuntimeError(f"the trap {row.name} does not act in its own case")
    found, first = held(served, right, plant)
    alarms = clean_alarms(row, served, right, Planting(block, inputs), clean)
    caught = found.first is not None
    return Trial(
        row.name, families_of_names()[row.name], served.engine, row.at, caught, caught and at_its_tap(row, first),
        first, found.detail, clean + 1, alarms, perf_counter() - began,
    )  # fmt: skip


def held(served: Backend, right: Truth, plant: Planting) -> tuple[Outcome, str]:
    """A mirror of what is planted beside the definition: what the check's comparison says, and the first other tap."""
    outcome = Outcome("", 0.0, "")
    try:
        layer = served.load(served.build(plant.block), right.weights)
        run = served.run(layer, plant.inputs, add=plant.add, replace=plant.replace)
    except Exception as error:  # of a framework: nothing was caught
        return Outcome("", 0.0, "", detail=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"), ""
    output = plant.output(run.output) if plant.output else run.output
    seen = {**run.taps, OUTPUT: Tapped(np.asarray(output), "")}
    judge(outcome, right, seen, LIMIT[DTYPE])
    return outcome, first_other(outcome, right, seen)


def first_other(outcome: Outcome, right: Truth, seen: Mapping[str, Tapped]) -> str:
    """The definition's first tap that is not there or has another value: where taps come in another order, too."""
    agrees = {name: ok for name, _, _, ok in outcome.rows}
    return next((name for name in right.taps if not agrees.get(name, False)), outcome.first or "")


def at_its_tap(row: Trap, first: str) -> bool:
    """Is it the tap that the trap says, in whatever block it lies?"""
    parts = first.split(".")
    return any(matches(".".join(parts[n:]), row.at) for n in range(len(parts)))


def clean_alarms(row: Trap, served: Backend, right: Truth, own: Planting, count: int) -> list[str]:
    """What differs in clean cases: in the trap's own with nothing planted, and in ``count`` drawn ones of its block."""
    found, _ = held(served, right, own)
    alarms = [f"its own case: {found.first}: {found.detail}"] if found.first or found.detail else []
    seed = list(families_of_names()).index(row.name)
    for case in cases(type(own.block), count, seed):
        drawn = compare(served, case, DTYPE, gaps_for(served.engine, DTYPE))
        if drawn.first is not None:
            alarms.append(f"{drawn.first}: {drawn.detail}: {drawn.case}")
    return alarms


def families_of_names() -> dict[str, str]:
    """Trap -> its family."""
    return {row.name: title for title, rows in families().items() for row in rows}
