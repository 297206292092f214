"""Splitting, merging and repeating axes, and the keep of a dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from attn_ref.tap import full_name, probing, tap


def split_heads(x: Any, heads: int) -> Any:
    """(b, t, heads·d) → (b, heads, t, d): head h is the h-th contiguous slice of the last axis."""
    b, t, width = x.shape
    return x.reshape(b, t, heads, width // heads).swapaxes(1, 2)


def merge_heads(x: Any) -> Any:
    """(b, heads, t, d) → (b, t, heads·d), the inverse of ``split_heads``."""
    b, heads, t, d = x.shape
    return x.swapaxes(1, 2).reshape(b, t, heads * d)


def repeat_heads(x: Any, times: int) -> Any:
    """(b, g, s, d) → (b, g·times, s, d), each head ``times`` times in a row: query head h reads head h // times."""
    return x if times == 1 else np.repeat(x, times, axis=1)


_rates: dict[str, float] | None = None


@contextmanager
def rates() -> Iterator[dict[str, float]]:
    """Learn inside what share every dropout drops: the full name of its tap -> its rate."""
    global _rates
    before, _rates = _rates, {}
    try:
        yield _rates
    finally:
        _rates = before


def dropout(x: Any, rate: float, labels: str, name: str = "keep") -> Any:
    """x · keep. ``keep`` is a tap: 1 here; in training its value is replaced by 0 or 1 / (1 − rate)."""
    if rate and _rates is not None:
        _rates[full_name(name)] = rate
    if not rate or not probing():  # nobody to replace it
        return x
    return x * tap(name, np.ones(x.shape, x.real.dtype), labels)
