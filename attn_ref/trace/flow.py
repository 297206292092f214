"""Which values of a trace came of which: told by the elements of what an operation takes, in every framework alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

#: the number that stands for what the layer was given, and that of the first of the arrays that are known besides
INPUT, KNOWN = -1, -2
Numbers = frozenset[int]
NONE: Numbers = frozenset()
_on = False
_known: Sequence[np.ndarray] = ()


@contextmanager
def following(known: Sequence[np.ndarray] = ()) -> Iterator[None]:
    """While it lasts, traces tell which values came of which: of the arrays that are ``known`` too, as KNOWN - i."""
    global _on, _known
    before = _on, _known
    _on, _known = True, known
    try:
        yield
    finally:
        _on, _known = before


def wanted() -> bool:
    """Is that asked for?"""
    return _on


def telling() -> bool:
    """Is it asked for which parameters and layers inside values are of, too?"""
    return _on and len(_known) > 0


class Flow:
    """The records that every value came of."""

    def __init__(self) -> None:
        #: shape and hash of the elements -> the records that have them; of what is not recorded, those it came of
        self.known: dict[Any, Numbers] = {}
        for i, x in enumerate(_known):  # several may have the same numbers
            self.known[key(x)] = self.known.get(key(x), NONE) | {KNOWN - i}
        self.sources: dict[Any, Numbers] = dict(self.known)
        #: record -> the records of what its operation took
        self.parents: dict[float, Numbers] = {}
        self.taken: set[int] = set()

    def start(self, arrays: Iterable[np.ndarray]) -> None:
        """These are what the layer was given."""
        for x in arrays:
            self.sources[key(x)] = frozenset({INPUT})

    def of(self, arrays: Iterable[np.ndarray]) -> Numbers:
        """The records that these came of, which are taken now."""
        found = NONE.union(*(self.sources.get(key(x), NONE) for x in arrays))
        self.taken |= found
        return found

    def record(self, number: int, value: np.ndarray, came: Numbers) -> None:
        """A value was recorded; one that is read from where it is known, such as a variable, came of that."""
        came = came or self.known.get(key(value), NONE)
        self.parents[number] = came
        self.sources[key(value)] = frozenset({number})

    def untaken(self) -> Numbers:
        """The records that no operation was seen to take: what was put into an array is among them."""
        found = frozenset(int(n) for n in self.parents) - self.taken
        self.taken |= found
        return found


def key(x: np.ndarray) -> tuple[Any, ...]:
    """By which a value is known: reals as float64, since that is how they are recorded."""
    x = np.asarray(x)
    return x.shape, hash((x.astype(np.float64) if x.dtype.kind == "f" else x).tobytes())
