"""Ratios of two functions' times that a busy machine does not spoil.

The candidates take turns, A B, B A, A B …, and every pair gives one ratio; the median of them is the figure, with its
quartiles. The clock counts the CPU time of this process, so what other processes take from it does not enter; on one
thread that is the time that an idle machine would show. The same ratio by the wall clock is kept beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import numpy as np

Call = Callable[[], Any]
#: CPU seconds and wall seconds of one measurement
Times = tuple[float, float]


@dataclass(frozen=True)
class Effort:
    """How long a row is measured: at least ``pairs`` pairs and ``seconds``, each measurement ``slice`` seconds."""

    pairs: int = 11
    seconds: float = 1.2
    slice: float = 0.005


#: one pair, one call each: for the test that the scripts run
QUICK = Effort(pairs=1, seconds=0.0, slice=0.0)


@dataclass
class Row:
    """One comparison. ``ratio``: ours / theirs by CPU time, the median over the pairs; ``low``, ``high``: quartiles."""

    group: str
    case: str
    against: str
    size: str
    aim: float | None
    ratio: float
    low: float
    high: float
    wall_ratio: float
    ours_ms: float
    theirs_ms: float
    pairs: int

    @property
    def verdict(self) -> str:
        """ "met", "MISSED", or "even": above the aim by less than its own spread. Nothing where there is no aim."""
        if self.aim is None:
            return ""
        return "met" if round(self.ratio, 2) <= self.aim else "even" if self.low <= self.aim else "MISSED"


def ratios(ours: Call, theirs: Call, effort: Effort, timed: Callable[[Call], Times] | None = None) -> dict[str, Any]:
    """The figures of a ``Row``. ``timed`` measures one call otherwise than in this process."""
    if timed is None:
        ours(), theirs()
        calls = max(1, round(effort.slice / max(repeated(theirs, 1)[0], 1e-7)))

        def timed(call: Call) -> Times:
            return repeated(call, calls)

    pairs = list(taking_turns(ours, theirs, effort, timed))
    cpu = sorted(a[0] / b[0] for a, b in pairs)
    low, _, high = quantiles(cpu, n=4, method="inclusive") if len(cpu) > 1 else cpu * 3
    return {
        "ratio": median(cpu), "low": low, "high": high, "wall_ratio": median(a[1] / b[1] for a, b in pairs),
        "ours_ms": 1e3 * median(a[0] for a, _ in pairs), "theirs_ms": 1e3 * median(b[0] for _, b in pairs),
        "pairs": len(pairs),
    }  # fmt: skip


def taking_turns(ours: Call, theirs: Call, effort: Effort, timed: Callable[[Call], Times]) -> Iterator[tuple[Any, Any]]:
    """Pairs of times of the two, whoever went second going first next."""
    end, count = time.perf_counter() + effort.seconds, 0
    while count < effort.pairs or time.perf_counter() < end:
        if count % 2:
            b = timed(theirs)
            a = timed(ours)
        else:
            a = timed(ours)
            b = timed(theirs)
        yield a, b
        count += 1


def repeated(call: Call, calls: int) -> Times:
    """CPU and wall seconds of one call, the mean of ``calls``."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        call()
    return max(time.process_time() - cpu, 1e-9) / calls, (time.perf_counter() - wall) / calls


def same(what: str, ours: Any, theirs: Any, tolerance: float = 1e-4, but: float = 0.0) -> None:
    """AssertionError unless the two agree in value: a ratio of different things means nothing. ``but``: for a share."""
    a, b = np.asarray(ours), np.asarray(theirs)
    assert a.shape == b.shape, f"{what}: {a.shape} and {b.shape}"
    error, largest = float(np.quantile(np.abs(a - b), 1.0 - but)), float(np.max(np.abs(b)))
    assert error <= tolerance * max(largest, 1e-3), f"{what}: {error} apart, values up to {largest}"
