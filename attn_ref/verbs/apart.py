"""How the values differ at which two layers part, in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attn_ref.check.numbers import short
from attn_ref.trace.match import ratio
from attn_ref.trace.meet import Parting, Side, Value, equal, layouts
from attn_ref.trace.steps import scrambled
from attn_ref.verbs.verdict import Place

Pair = tuple[np.ndarray, np.ndarray]


def between(at: Parting, a: Side, b: Side) -> tuple[tuple[Place | None, Place | None], str]:
    """The places of both, and what differs."""
    places = place(at.a), place(at.b)
    if at.a is None and at.b is None:
        return places, "every value of each is one of the other, and they give something else"
    if at.a is None or at.b is None:
        alone, other = ("b", "a") if at.a is None else ("a", "b")
        value = at.b or at.a
        assert value is not None
        return places, f"{alone} does a step more, which gives {shape(value)}; every value of {other} is one of {alone}"
    said = kind(at.a, at.b, a, b, "b") or kind(at.b, at.a, b, a, "a")
    return places, said or gap(at.a, at.b)


def place(value: Value | None) -> Place | None:
    """Where a value was computed."""
    if value is None:
        return None
    return Place("", value.record.line, f"{value.record.operation} → {shape(value)}", None)


def shape(value: Value) -> str:
    """Its shape, as it was computed."""
    return str(value.record.value.shape)


def kind(value: Value, partner: Value, own: Side, other: Side, name: str) -> str:
    """What a value is of one that the other has: a multiple, or the same numbers in another order.

    The first that is asked is its ``partner``, then the last before that. A multiple of what both have is a step.
    """
    mine = "a" if name == "b" else "b"
    last = partner.record.number
    of_size = [one for one in reversed(other.by_size.get(value.value.size, [])) if one.record.number <= last]
    for test in (multiple, differently_masked, reordered):
        for one in of_size:
            if test is multiple and own.find(one):
                continue
            for x, y in layouts(value.value, one.value):
                if said := test(x, y):
                    where = one.record.line.short if one.record.line else one.record.operation
                    return f"{mine} has {said} what {name} has at {where}."
    return ""


def multiple(x: np.ndarray, y: np.ndarray) -> str:
    """A factor."""
    found = ratio(x, y)
    return f"{found:.6g} times" if found is not None else ""


def differently_masked(x: np.ndarray, y: np.ndarray) -> str:
    """The same numbers where both are finite, and −∞ elsewhere."""
    low, other = np.isneginf(x), np.isneginf(y)
    both = ~low & ~other
    if (low == other).all() or not both.any() or np.isnan(x).any() or np.isnan(y).any():
        return ""
    if not equal(x[both], y[both]) or np.all(x[both] == x[both][0]):
        return ""
    more, fewer = int((low & ~other).sum()), int((other & ~low).sum())
    counted = " and ".join(f"{n} {word}" for n, word in ((more, "more"), (fewer, "fewer")) if n)
    return f"{counted} of {x.size} elements masked than in"


def reordered(x: np.ndarray, y: np.ndarray) -> str:
    """The same numbers, not in the same order."""
    return "the same numbers in another order as" if scrambled(x, y) and not equal(x, y) else ""


def gap(a: Value, b: Value) -> str:
    """How far the two are apart, in the order of axes in which they are nearest."""
    differences = sorted(gaps(layouts(a.value, b.value)))
    if not differences:
        return f"a has {shape(a)} there, b has {shape(b)}."
    return f"They are at most {short(differences[0])} apart there."


def gaps(pairs: Iterator[Pair]) -> Iterator[float]:
    """The largest difference of each pair where both are finite."""
    for x, y in pairs:
        seen = np.isfinite(x) & np.isfinite(y)
        yield float(np.max(np.abs(x[seen] - y[seen]), initial=0.0))
