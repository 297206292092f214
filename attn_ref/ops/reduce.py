"""Reductions over axes, and the points at which their derivative is not one thing."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.ops.primitive import kink


def largest(x: Any, axis: int, *, keepdims: bool = False) -> Any:
    """max over ``axis``. Where several are the largest, frameworks share the gradient or pick one: a kink."""
    index = np.argmax(x.real, axis=axis, keepdims=True)
    top = np.take_along_axis(x, index, axis=axis)
    kink(((x.real == top.real) & np.isfinite(x.real)).sum(axis=axis) > 1)
    return top if keepdims else np.squeeze(top, axis=axis)
