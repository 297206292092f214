"""What makes a function an ``ops`` primitive: rounding noise can be put on its result.

A primitive is complex-safe (an imaginary part passes through as a derivative does) and says where it is defined. The
tolerance (``attn_ref.check.tolerance``) learns how far a result may wander by running the reference while the result
of every primitive moves by one unit roundoff. Nothing else looks at this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


class Noise:
    """Moves every element by ± one unit roundoff; ``gaps`` gives single primitives a larger unit (a known gap)."""

    def __init__(self, unit: float, seed: int, gaps: Mapping[str, float] | None = None) -> None:
        self.unit, self.gaps = unit, dict(gaps or {})
        self.used: set[str] = set()
        self.bits = np.random.Generator(np.random.PCG64(seed))

    def move(self, x: Any) -> Any:
        """x ± unit·x, the real and the imaginary part each with signs of its own; integers and bools as they are.

        Not x·(1 ± unit): in float64 1 + unit is 1, so that nothing would ever move up.
        """
        if not isinstance(x, np.ndarray | np.inexact) or x.dtype.kind not in "fc":
            return x
        if x.dtype.kind == "c":
            return self.move(x.real) + 1j * self.move(x.imag)
        return x + x * (self.unit * (2.0 * self.bits.integers(0, 2, np.shape(x)) - 1.0))


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
    """Make ``function`` a primitive. Where an engine has a known gap in it, its arguments move as well."""

    @wraps(function)
    def moved(*args: Any, **kwargs: Any) -> Any:
        noise = _noise
        if noise is None:
            return function(*args, **kwargs)
        noise.used.add(function.__name__)
        unit = noise.unit
        noise.unit = max(unit, noise.gaps.get(function.__name__, 0.0))
        try:
            if noise.unit > unit:
                args = tuple(noise.move(a) for a in args)
            return noise.move(function(*args, **kwargs))
        finally:
            noise.unit = unit

    moved.primitive = True  # type: ignore[attr-defined]
    return moved  # type: ignore[return-value]


_kinks: list[bool] | None = None


@contextmanager
def kinks() -> Iterator[list[bool]]:
    """Learn whether the reference came upon a kink inside: ``any(found)``. There only values can be compared."""
    global _kinks
    before, _kinks = _kinks, []
    try:
        yield _kinks
    finally:
        _kinks = before


def kink(where: Any) -> None:
    """Say where an operation has no derivative, so that frameworks choose one of several."""
    if _kinks is not None:
        _kinks.append(bool(np.any(where)))
