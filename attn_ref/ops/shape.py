"""Splitting, merging and repeating axes, and the keep of a dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.tap import probing, tap


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


def dropout(x: Any, rate: float, labels: str, name: str = "keep") -> Any:
    """x · keep. ``keep`` is a tap: 1 here; in training its value is replaced by 0 or 1 / (1 − rate)."""
    if not rate or not probing():  # nobody to replace it
        return x
    return x * tap(name, np.ones(x.shape, x.real.dtype), labels)
