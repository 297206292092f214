"""Finding a value of the reference among those of a trace, up to the order of axes and a reshape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import permutations

import numpy as np

from attn_ref.trace.record import Faint, Record

#: relative to the largest value: how far a value in float64 may be off, and be the same; one in float32; and what may
#: be left of a value that is affine in another
CLOSE, CLOSE32, EXACT, EXACT32 = 1e-7, 2e-5, 1e-8, 1e-5
#: operations that do no more than to exchange axes
TURNS = ("transpose", "permute", "t", "swapaxes", "moveaxis")
_loose = False


@contextmanager
def loosely() -> Iterator[None]:
    """While it lasts, values are the same that are so in float32."""
    global _loose
    before, _loose = _loose, True
    try:
        yield
    finally:
        _loose = before


def exact() -> float:
    """What may be left of a value that is affine in another."""
    return EXACT32 if _loose else EXACT


#: heads that are looked for one by one
MOST_PARTS = 32


@lru_cache(maxsize=4096)
def orders(shape: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The orders of axes of ``sizes`` that, each axis or several neighbours for one, make up ``shape``."""
    wide = tuple(n for n in shape if n != 1)
    found = []
    for order in permutations([i for i, size in enumerate(sizes) if size != 1]):
        if groups([sizes[i] for i in order], wide):
            found.append(order)
    return tuple(found)


def groups(fine: Sequence[int], coarse: Sequence[int]) -> bool:
    """Are the sizes ``coarse`` products of neighbours of ``fine``?"""
    at = 0
    for size in coarse:
        here = 1
        while at < len(fine) and here < size:
            here *= fine[at]
            at += 1
        if here != size:
            return False
    return at == len(fine)


def turned(value: np.ndarray, sizes: tuple[int, ...]) -> Iterator[np.ndarray]:
    """``value`` as arrays of ``sizes``, for every order of axes in which it may lie."""
    for order in orders(value.shape, sizes):
        yield laid(value, sizes, order)


def laid(value: np.ndarray, sizes: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    """``value``, whose axes lie in that order, as an array of ``sizes``."""
    return value.reshape([sizes[i] for i in order]).transpose(np.argsort(order)).reshape(sizes)


def laid_back(value: np.ndarray, shape: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    """What ``laid`` undoes: ``value`` with its axes in that order, as an array of ``shape``."""
    alone = [i for i in range(value.ndim) if i not in order]
    return value.transpose([*alone, *order]).reshape(shape)


def upright(shape: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of axes that is taken for the one that is meant: the plain one, else one that keeps the last two."""
    known, plain = orders(shape, sizes), tuple(i for i, size in enumerate(sizes) if size != 1)
    return plain if plain in known else next((order for order in known if order[-2:] == plain[-2:]), None)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Are they equal, up to rounding? Where both are infinite alike they are; NaN is never."""
    if a.shape != b.shape:
        return False
    finite = np.isfinite(b)
    if not finite.all():
        if not (hides(a[~finite]) & (b[~finite] < 0)).all():
            return False
        a, b = a[finite], b[finite]
    top = np.max(np.abs(b), initial=1e-300)
    return bool(np.max(np.abs(a - b), initial=0.0) <= (CLOSE32 if _loose else CLOSE) * top)


def ratio(theirs: np.ndarray, ours: np.ndarray) -> float | None:
    """The one number by which they differ as factor; None if there is none."""
    if theirs.shape != ours.shape:
        return None
    seen = np.isfinite(ours) & np.isfinite(theirs)
    if (np.isfinite(ours) != seen).any() or not ours[seen].any():
        return None
    theirs, ours = theirs[seen], ours[seen]
    factor = float((theirs * ours).sum() / (ours * ours).sum())
    return factor if abs(factor) > 1e-9 and same(theirs, factor * ours) and abs(factor - 1) > 1e-9 else None


def hides(x: np.ndarray) -> np.ndarray:
    """Are scores so low that a softmax makes nothing of them?"""
    return np.asarray(x < -1e3)


class Finder:
    """Looks values up by size and by sums that do not depend on the order of elements."""

    def __init__(self, records: Sequence[Record], faint: Sequence[Faint] = ()) -> None:
        self.by_size: dict[int, list[Record]] = {}
        for record in records:
            self.by_size.setdefault(record.value.size, []).append(record)
        self.sums = {record.number: marks(record.value) for record in records}
        self.faint = faint
        #: does a value that has its last axis as two, heads and widths, count as seen whatever else there is?
        self.apart = False

    def of_size(self, size: int, after: float = -1) -> list[Record]:
        """The records of so many elements, behind the one of that number."""
        return [record for record in self.by_size.get(size, ()) if record.number > after]

    def find(self, value: np.ndarray) -> tuple[Record, bool] | None:
        """The first record that is ``value`` in some order of its axes, and whether that order is its own.

        One of the same shape whose axes have to be exchanged, as queries and keys, may be it by chance.
        """
        wanted, other = marks(value), None
        for record in self.by_size.get(value.size, ()):
            if np.isfinite(value).all() and not alike(self.sums[record.number], wanted):
                continue
            if any(same(x, value) for x in turned(record.value, value.shape)):
                meant = upright(record.value.shape, value.shape)
                if meant is None or same(laid(record.value, value.shape, meant), value):
                    # who turns what he has the wrong way round does not have it the right way
                    turns = record.operation.partition(" ")[0].lower() in TURNS
                    return other if turns and other else (record, True)
                other = other or (record, False)
        return other or self.find_faint(value)

    def in_parts(self, value: np.ndarray) -> bool:
        """Is it there with an axis as several, as heads that nobody merged, and in no other order?"""
        wanted, wide = marks(value), [n for n in value.shape if n != 1]
        found = [r for r in self.by_size.get(value.size, ()) if alike(self.sums[r.number], wanted)]
        if self.apart:
            joint = [r.value.reshape(*r.value.shape[:-2], -1) for r in found if r.value.ndim > 2]
            return any(same(x, value) for y in joint for x in turned(y, value.shape))
        if any(orders(record.value.shape, value.shape) for record in found):
            return False
        split = [r.value for r in found if groups([n for n in r.value.shape if n != 1], wide)]
        return any(same(x.reshape(value.shape), value) for x in split)

    def find_faint(self, value: np.ndarray) -> tuple[Record, bool] | None:
        """The same among the values that were not kept, by their sums."""
        for record in self.faint:
            if int(np.prod(record.shape)) != value.size:
                continue
            for order in orders(record.shape, value.shape):
                if close_sums(record.sums, fingerprint(laid_back(value, record.shape, order))):
                    return record, True
        return None

    def find_parts(self, value: np.ndarray) -> Record | None:
        """The last of the records that are the heads of ``value``, its second axis, one by one."""
        if value.ndim != 4 or not 1 < value.shape[1] <= MOST_PARTS:
            return None
        last = None
        for i in range(value.shape[1]):
            found = self.find(value[:, i])
            if found is None:
                return None
            last = found[0]
        return last


def marks(value: np.ndarray) -> tuple[float, float, float]:
    """Sums that an order of elements does not change."""
    x = np.where(np.isfinite(value), value, 0.0).ravel()
    with np.errstate(over="ignore", invalid="ignore"):  # a mask may be the least number that there is
        return float(x.sum()), float((x * x).sum()), float(np.max(np.abs(x), initial=0.0))


#: factors by which the elements of a value are told apart in a sum, over and over
FACTORS = np.random.default_rng(0).normal(size=1 << 16)


def fingerprint(value: np.ndarray) -> tuple[float, float, float]:
    """Sums of a value: of its elements, of their squares, and one to which each adds by its place.

    What a softmax makes nothing of counts as zero, since it is the same at whatever depth a mask puts it.
    """
    x = np.where(np.isfinite(value) & ~hides(value), value, 0.0).ravel()
    rows = [x[at : at + FACTORS.size] for at in range(0, x.size, FACTORS.size)]
    placed = sum(float(row @ FACTORS[: row.size]) * (1 + n * 0.618 % 1) for n, row in enumerate(rows))
    return float(x.sum()), float(x @ x), placed


def close_sums(a: Sequence[float], b: Sequence[float]) -> bool:
    """Are two fingerprints those of one value? Each sum of a value of that size varies by the root of its squares."""
    size = b[1] ** 0.5
    return all(abs(x - y) <= (1e-4 if _loose else 1e-6) * size * s for x, y, s in zip(a, b, (1, size, 1), strict=True))


def alike(a: Sequence[float], b: Sequence[float]) -> bool:
    """Are these sums equal, up to rounding? The first is a difference of large numbers; the second says how large."""
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return True  # they say nothing
    scale = (abs(b[1]) + 1.0, abs(b[1]) + 1e-300, abs(b[2]) + 1e-300)
    return all(abs(x - y) <= (1e-4 if _loose else 1e-5) * s for x, y, s in zip(a, b, scale, strict=True))


def factors(n: int) -> list[tuple[int, ...]]:
    """(n,), and n as two factors, the first at least 2 and less than n."""
    return [(n,), *((k, n // k) for k in range(2, n) if n % k == 0)]
