"""The values of a trace, below a total of bytes. What is beyond is kept as a few sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.trace.match import fingerprint
from attn_ref.trace.record import Faint, Line, Record, Trace

#: bytes that the values of a trace may take, and elements that one may have
LIMIT, MOST = 1 << 30, 4_000_000


class Store:
    """Takes values as they are computed; none with a limit of 0."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.records: list[Record] = []
        self.faint: list[Faint] = []
        self.limit, self.left = limit, limit
        #: was a value of less than float64 among them?
        self.narrow = False
        #: hash of the bytes -> the elements; a view of what is kept takes no more memory
        self.kept: dict[int, np.ndarray] = {}
        self.told: set[tuple[int, tuple[int, ...]]] = set()

    def add(self, operation: str, value: np.ndarray, line: Line | None, narrow: bool = False) -> None:
        """Keep a copy of ``value``, which is in float64 here; ``narrow``: it was computed in less."""
        if value.size == 0 or self.limit == 0:
            return
        # one that holds whole numbers only, as a mask does, has lost nothing
        self.narrow = self.narrow or (narrow and value.size > 1 and fractional(value))
        number = len(self.records) + len(self.faint)
        if value.size > MOST or (value.nbytes > self.left and self.elements(value) is None):
            self.faint.append(Faint(number, operation, np.empty(0), line, value.shape, fingerprint(value)))
            return
        elements = self.elements(value)
        if elements is None:
            elements = np.array(value, np.float64, order="C").ravel()
            self.left -= value.nbytes
            self.kept[hash(value.tobytes())] = elements
        self.told.add((hash(value.tobytes()), value.shape))
        self.records.append(Record(number, operation, elements.reshape(value.shape), line))

    def elements(self, value: np.ndarray) -> np.ndarray | None:
        """Those that are kept already and are the elements of ``value`` in order."""
        found = self.kept.get(hash(value.tobytes()))
        return found if found is not None and np.array_equal(found, value.ravel(), equal_nan=True) else None

    def has(self, value: np.ndarray) -> bool:
        """Was this very value recorded, in this shape?"""
        return (hash(value.tobytes()), value.shape) in self.told

    def trace(self, output: Any, unused: list[str], parameters: dict[str, np.ndarray]) -> Trace:
        """All of it."""
        made = Trace(self.records, output, unused, parameters, self.narrow, faint=self.faint)
        if self.faint:
            said = f"{len(self.faint)} of {len(self.records) + len(self.faint)} values were too much to keep"
            made.notes.append(f"{said}: they are known by sums, and no weights are read off them")
        return made


def fractional(value: np.ndarray) -> bool:
    """Has it a finite number that is no whole one?"""
    finite = value[np.isfinite(value)]
    return bool((finite != np.rint(finite)).any())
