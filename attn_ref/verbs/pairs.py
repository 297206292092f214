"""Which parameter of one layer has the numbers of which of the other, in whatever layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from attn_ref.trace.match import loosely
from attn_ref.verbs.weights import source

#: how far a number may be off, of itself, and be the same: both may have been float32
NEAR = 1e-6
#: of the numbers of two layers as many must be the same for them to be compared
LEAST = 0.1
Arrays = Mapping[str, np.ndarray]


@dataclass
class Pairs:
    """Parameters that have the same numbers."""

    #: of a -> what it is of b's, or the other way round, in words
    told: list[tuple[str, str]] = field(default_factory=list)
    #: parameters of either whose numbers the other has not
    alone: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    #: parameters that are of one number all over
    plain: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    #: how many of the numbers that say something both have, of 1; None where one of them holds none
    share: float | None = None

    @property
    def differ(self) -> bool:
        """Are the weights different numbers altogether?"""
        return self.share is not None and self.share < LEAST


def paired(a: Arrays, b: Arrays) -> Pairs:
    """Which parameters of ``a`` and ``b`` are the same numbers."""
    found = Pairs()
    kept = []
    for own, plain in zip((a, b), found.plain, strict=True):
        plain += [name for name, x in own.items() if np.all(x == x.flat[0] if x.size else True)]
        kept.append({name: np.asarray(x, np.float64) for name, x in own.items() if name not in plain})
    shares = [shared(one, other) for one, other in (kept, kept[::-1])]
    total = [sum(x.size for x in one.values()) for one in kept]
    if all(total):
        found.share = max(sum(kept[i][n].size * s for n, s in shares[i].items()) / total[i] for i in (0, 1))
    for known, alone in zip(shares, found.alone, strict=True):
        alone += [name for name, share in known.items() if share < 1.0] if all(total) else []
    said_of_b = set()
    for name, value in kept[0].items():
        if said := told(value, kept[1]):
            found.told.append((f"a.{name}", f"b.{said}"))
            said_of_b |= {other for other in kept[1] if said.startswith(other) and kept[1][other].size == value.size}
    for name, value in kept[1].items():
        if name not in said_of_b and (said := told(value, kept[0])):
            found.told.append((f"b.{name}", f"a.{said}"))
    return found


def told(value: np.ndarray, others: Arrays) -> str | None:
    """Which of the ``others`` a value is, or which part of it, in words; None if it is none."""
    with loosely():
        for shaped in shapes(value):
            said = source(shaped, others, None)
            if is_place(said):
                return said
            if shaped.ndim == 2 and is_place(said := source(shaped.T, others, None)):
                return said.removesuffix(".T") if said.endswith(".T") else f"{said}.T"
    held = (name for name, x in others.items() if x.size >= value.size and among(value, np.sort(x.ravel())).all())
    return next((f"{name}, in another order" for name in held), None)


def is_place(said: str) -> bool:
    """Is it a parameter, or a part of one?"""
    return not said.startswith(("read off", "zeros", "numbers of"))


def shapes(value: np.ndarray) -> Iterator[np.ndarray]:
    """A value, and as a matrix or a vector, as heads are folded into a width."""
    yield value
    if value.ndim > 2:
        yield value.reshape(len(value), -1)
        yield value.reshape(-1, value.shape[-1])
    elif value.ndim == 2:
        yield value.reshape(-1)


def shared(one: Arrays, other: Arrays) -> dict[str, float]:
    """Name -> how many of its numbers ``other`` has anywhere, of 1."""
    if not other:
        return dict.fromkeys(one, 0.0)
    known = np.sort(np.concatenate([x.ravel() for x in other.values()]))
    return {name: float(np.mean(among(x, known))) for name, x in one.items()}


def among(value: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the numbers are among the sorted ``known``."""
    at = np.clip(np.searchsorted(known, value), 1, max(len(known) - 1, 1))
    nearest = np.minimum(np.abs(known[at - 1] - value), np.abs(known[np.minimum(at, len(known) - 1)] - value))
    return np.asarray(nearest <= NEAR * np.abs(value) + 1e-12)
