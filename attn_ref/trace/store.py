"""The values of a trace, below a total of bytes. What is beyond is kept as a few sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from attn_ref.trace.flow import NONE, Flow, Numbers, key, wanted
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
        #: which values came of which, where that is asked for
        self.flow = Flow() if wanted() and limit else None
        #: number of a record -> the layer inside that computed it, where that is known
        self.layers: dict[float, str] = {}

    def start(self, given: Iterable[Any]) -> None:
        """Note what the layer was given."""
        if self.flow is not None:
            self.flow.start(x for x in given if isinstance(x, np.ndarray))

    def came(self, given: Callable[[], Iterable[np.ndarray]]) -> Numbers:
        """The records that ``given``, which an operation takes, came of; nothing where that is not asked for."""
        return NONE if self.flow is None else self.flow.of(given())

    @property
    def last(self) -> Numbers:
        """The last record, where it is asked for what values came of."""
        return NONE if self.flow is None else frozenset({len(self.records) + len(self.faint) - 1})

    def carry(self, value: Callable[[], np.ndarray], came: Numbers) -> None:
        """Note what a value that is not recorded, such as a mask of bools, came of."""
        if self.flow is not None:
            self.flow.sources[key(value())] = came

    def add(
        self, operation: str, value: np.ndarray, line: Line | None, narrow: bool = False, came: Numbers = NONE,
        layer: str = "",
    ) -> None:  # fmt: skip
        """Keep a copy of ``value``, which is in float64 here; ``narrow``: it was computed in less."""
        if value.size == 0 or self.limit == 0:
            return
        # one that holds whole numbers only, as a mask does, has lost nothing
        self.narrow = self.narrow or (narrow and value.size > 1 and fractional(value))
        number = len(self.records) + len(self.faint)
        if self.flow is not None:
            self.flow.record(number, value, came)
        if layer:
            self.layers[number] = layer
        if value.size > MOST or (value.nbytes > self.left and self.elements(value) is None):
            self.faint.append(Faint(number, operation, np.empty(0), line, value.shape, fingerprint(value)))
            return
        elements = self.elements(value)
        if elements is None:
            elements = np.array(value, np.float64, order="C").ravel()
            self.left -= value.nbytes
            self.kept[hash(value.tobytes())] = elements
        self.skip(value)
        self.records.append(Record(number, operation, elements.reshape(value.shape), line))

    def elements(self, value: np.ndarray) -> np.ndarray | None:
        """Those that are kept already and are the elements of ``value`` in order."""
        found = self.kept.get(hash(value.tobytes()))
        return found if found is not None and np.array_equal(found, value.ravel(), equal_nan=True) else None

    def skip(self, value: np.ndarray) -> None:
        """Take it for one that was recorded."""
        self.told.add((hash(value.tobytes()), value.shape))

    def has(self, value: np.ndarray) -> bool:
        """Was this very value recorded, in this shape?"""
        return (hash(value.tobytes()), value.shape) in self.told

    def trace(self, output: Any, unused: list[str], parameters: dict[str, np.ndarray]) -> Trace:
        """All of it."""
        made = Trace(self.records, output, unused, parameters, self.narrow, faint=self.faint)
        made.parents, made.layers = self.flow.parents if self.flow else {}, self.layers
        if self.faint:
            said = f"{len(self.faint)} of {len(self.records) + len(self.faint)} values were too much to keep"
            made.notes.append(f"{said}: they are known by sums, and no weights are read off them")
        return made


def fractional(value: np.ndarray) -> bool:
    """Has it a finite number that is no whole one?"""
    finite = value[np.isfinite(value)]
    return bool((finite != np.rint(finite)).any())
