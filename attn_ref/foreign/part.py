"""A part of a tensor: one of several parameters that a library keeps in one, and joins or interleaves there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """``size`` of ``of`` equal shares along an axis, from share ``start`` on; in each of ``groups`` equal groups.

    ``Part(1, 1, 3)`` is the second third; ``Part(0, 4, 8)`` the first half, told in eighths; and
    ``Part(2, 1, 3, groups=4)`` the last third of every quarter: values of 4 heads, if a head keeps its three together.
    """

    start: int
    size: int
    of: int
    axis: int = 0
    groups: int = 1

    def shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Its shape, of the whole's."""
        if len(whole) <= self.axis:
            return whole
        length = whole[self.axis] // (self.groups * self.of) * self.size * self.groups
        return (*whole[: self.axis], length, *whole[self.axis + 1 :])

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The whole's shape, of its own."""
        if len(shape) <= self.axis:
            return shape
        length = shape[self.axis] // (self.groups * self.size) * self.of * self.groups
        return (*shape[: self.axis], length, *shape[self.axis + 1 :])

    def view(self, whole: np.ndarray) -> np.ndarray:
        """Where it is in the whole, the axis as two: groups and what each has."""
        before, length, after = whole.shape[: self.axis], whole.shape[self.axis], whole.shape[self.axis + 1 :]
        share = length // (self.groups * self.of)
        cut = whole.reshape(*before, self.groups, self.of * share, *after)
        own = slice(self.start * share, (self.start + self.size) * share)
        return cut[(*[slice(None)] * (self.axis + 1), own)]

    @property
    def in_one_piece(self) -> bool:
        """Do its numbers lie one after another in the whole?"""
        return self.axis == 0 and self.groups == 1

    def take(self, whole: np.ndarray) -> np.ndarray:
        """The part; a view where it lies in one piece."""
        return self.view(whole).reshape(self.shape(whole.shape))

    def place(self, whole: np.ndarray, value: Any) -> None:
        """Write it into ``whole``, which is contiguous."""
        there = self.view(whole)
        there[...] = np.asarray(value).reshape(there.shape)


def covered(parts: list[Part | None]) -> bool:
    """Are the parts of one tensor all of it, each share of it once?"""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return len(parts) == 1
    same = len({(part.of, part.axis, part.groups) for part in known}) == 1
    shares = sorted(n for part in known for n in range(part.start, part.start + part.size))
    return same and shares == list(range(known[0].of))
