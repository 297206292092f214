"""What makes a function an ``ops`` primitive: rounding noise can be put on its result.

A primitive is complex-safe (an imaginary part passes through as a derivative does) and says where it is defined. The
tolerance (``attn_ref.check.tolerance``) learns how far a result may wander by running the reference while the result
of every primitive moves by one unit roundoff. Nothing else looks at this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import numpy as np

#: the smallest number of float32 that is not denormal
FLOAT32_TINY = 2.0**-126
#: its unit roundoff, in which sums are kept where values are rounded to less
FLOAT32_UNIT = 2.0**-24
#: of so many terms that are added one by one, one rounding more is granted
ALIKE = 64
NUMBERS = (np.ndarray, np.inexact)
F = TypeVar("F", bound=Callable[..., Any])


class Noise:
    """Moves every element by ± a unit roundoff and ± ``tiny``; ``gaps``: primitives of a larger unit (known gaps)."""

    def __init__(self, unit: float, seed: int, gaps: Mapping[str, float] | None = None, tiny: float = 0.0) -> None:
        self.unit, self.gaps, self.tiny = unit, dict(gaps or {}), tiny
        self.used: set[str] = set()
        #: what gradients lose where a known gap flushes them to 0: Σ of the tangents there, times that number
        self.lost = 0.0
        self.bits = np.random.Generator(np.random.PCG64(seed))
        #: −1 or 1, by chance, drawn ahead, and how many of them are used
        self.signs: np.ndarray = np.empty(0)
        self.at = 0

    def move(self, x: Any, tangent: float = 0.0) -> Any:
        """x ± (unit·|x| + tiny), an imaginary part by itself; 0 and ∞ stay, and so do integers and bools.

        No rounding turns a sign: what would come to lie on the other side of 0 becomes 0. (A variance of 1e-8 moved by
        float16's 6e-8 was negative, and its root no number.) ``tiny`` is what an underflow may cost. Imaginary parts
        are derivatives times a step of 1e-30: theirs is a derivative that underflows, times the ``tangent`` that it
        multiplies.
        """
        if not isinstance(x, NUMBERS) or x.dtype.kind not in "fc" or not (self.unit or self.tiny):
            return x
        if x.dtype.kind == "f":
            return self._move(x)
        pairs = np.array(x, order="C")[..., None].view(x.real.dtype)
        return self._move(pairs, tangent).view(x.dtype)[..., 0]

    def _move(self, x: Any, tangent: float | None = None) -> Any:
        """With a ``tangent`` the last axis holds a real and an imaginary part."""
        finite = np.isfinite(x)
        step = x if np.count_nonzero(finite) == x.size else np.where(finite, x, 0.0)  # an infinity stays one
        step = np.multiply(step, self._drawn(x.size).reshape(x.shape), dtype=x.dtype)
        least = np.sign(step) * self.tiny if self.tiny else None
        step *= self.unit
        if least is not None:
            if tangent is not None:
                least[..., 1] *= tangent
            step += least
        step += x  # not x·(1 ± unit): in float64 1 + unit is 1, so that nothing would ever move up
        if least is not None and np.count_nonzero(turned := np.signbit(step) != np.signbit(x)):
            if tangent is not None:
                turned[..., 1] = False  # a tangent has no sign of its own
            step = np.where(turned, np.zeros((), x.dtype), step)
        return step

    def _drawn(self, count: int) -> np.ndarray:
        """The next signs; many moves share one call of the generator, which costs more than a move of few numbers."""
        start, self.at = self.at, self.at + count
        if self.at > self.signs.size:
            words = self.bits.bit_generator.random_raw(max(count, 16384) // 64 + 1)
            signs = np.unpackbits(words.view(np.uint8))
            self.signs, start, self.at = 2.0 * signs - 1.0, 0, count  # the few that were left are lost
        return self.signs[start : self.at]


_noise: Noise | None = None


@contextmanager
def noisy(noise: Noise) -> Iterator[None]:
    """Let ``noise`` move the result of every primitive inside."""
    global _noise
    before, _noise = _noise, noise
    try:
        yield
    finally:
        _noise = before


def primitive(function: F) -> F:
    """Make ``function`` a primitive.

    Where an engine has a known gap in it, it is computed in float32: arguments move as well, and small numbers vanish.
    """

    @wraps(function)
    def moved(*args: Any, **kwargs: Any) -> Any:
        noise = _noise
        if noise is None:
            return function(*args, **kwargs)
        noise.used.add(function.__name__)
        unit, tiny, gap = noise.unit, noise.tiny, noise.gaps.get(function.__name__, 0.0)
        try:
            if gap > unit:
                noise.unit, noise.tiny = gap, max(tiny, FLOAT32_TINY)
                noise.lost += FLOAT32_TINY * sum(float(np.sum(np.abs(np.imag(a)))) for a in args)
                args = tuple(noise.move(a) for a in args)
            tangent = largest_tangent(args) if noise.tiny >= FLOAT32_TINY else 0.0  # before: exp may write over them
            return noise.move(function(*args, **kwargs), tangent)
        finally:
            noise.unit, noise.tiny = unit, tiny

    moved.primitive = True  # type: ignore[attr-defined]
    return moved  # type: ignore[return-value]


def largest_tangent(values: Iterable[Any]) -> float:
    """The largest imaginary part."""
    complexes = [x for x in values if isinstance(x, NUMBERS) and x.dtype.kind == "c"]
    return max((float(np.max(np.abs(x.imag), initial=0.0)) for x in complexes), default=0.0)


def after(y: Any, roundings: int) -> Any:
    """``y``, a sum, after so many roundings of its size, each up or down by chance: √n of them add up."""
    if _noise is None or roundings < 2:
        return y
    unit = _noise.unit
    _noise.unit = unit * roundings**0.5
    try:
        return _noise.move(y)
    finally:
        _noise.unit = unit


def after_adding(y: Any, terms: int) -> Any:
    """``y``, a sum of so many terms, after they were added one by one, in float32 or better.

    Where many terms are alike, as those of tokens that are the same, each is rounded the same way, and the roundings
    do not cancel: torch's product of 2,051 equal terms is 345 of them off. C times one for every ``ALIKE`` grants that.
    """
    if _noise is None or terms < 2 * ALIKE:
        return y
    unit = _noise.unit
    _noise.unit = min(unit, FLOAT32_UNIT) * terms / ALIKE
    try:
        return _noise.move(y)
    finally:
        _noise.unit = unit


_kinks: list[bool] | None = None
_unit = 0.0


@contextmanager
def kinks(unit: float = 0.0) -> Iterator[list[bool]]:
    """Learn whether the reference came upon a kink inside: ``any(found)``. There only values can be compared.

    ``unit`` is the unit roundoff of the engine, which a spread may be lost in.
    """
    global _kinks, _unit
    before, _kinks, _unit = (_kinks, _unit), [], unit
    try:
        yield _kinks
    finally:
        _kinks, _unit = before


def kink(where: Callable[[], Any]) -> None:
    """Say where an operation has no derivative, so that frameworks choose one of several. Called if someone asks."""
    if _kinks is not None:
        _kinks.append(bool(np.any(where())))


def kink_if_lost(spread: Any, size: Any) -> None:
    """Say how far numbers of a size lie apart, where they are divided by it: a few roundings may make them equal."""
    kink(lambda: spread < 4.0 * _unit * np.abs(size))
