"""Reductions over axes, and the points at which their derivative is not one thing."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from attn_ref.ops.primitive import kink


def largest(x: Any, axis: int | tuple[int, ...], *, keepdims: bool = False) -> Any:
    """max over ``axis``. Where several are the largest, frameworks share the gradient or pick one: a kink."""
    axes = sorted(a % x.ndim for a in ([axis] if isinstance(axis, int) else axis))
    left = [size for a, size in enumerate(x.shape) if a not in axes]
    flat = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(*left, prod(x.shape[a] for a in axes))
    top = np.take_along_axis(flat, np.argmax(flat.real, axis=-1)[..., None], axis=-1)
    kink(((flat.real == top.real) & np.isfinite(flat.real)).sum(axis=-1) > 1)
    return np.expand_dims(top[..., 0], axes) if keepdims else top[..., 0]
