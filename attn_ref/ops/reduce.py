"""Reductions over axes, and the points at which their derivative is not one thing."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from attn_ref.ops.primitive import kink, kink_if_lost, primitive


def largest(x: Any, axis: int | tuple[int, ...], *, keepdims: bool = False) -> Any:
    """max over ``axis``. Where several are the largest, frameworks share the gradient or pick one: a kink."""
    top = np.max(x.real, axis=axis, keepdims=True)
    kink(lambda: ((x.real == top.real) & np.isfinite(x.real)).sum(axis=axis) > 1)
    if np.iscomplexobj(x):
        top = first_largest(x, (axis,) if isinstance(axis, int) else axis)
    return top if keepdims else np.squeeze(top, axis)


def first_largest(x: Any, axes: tuple[int, ...]) -> Any:
    """The number with the largest real part, the first of them, and with it the imaginary part; axes are kept."""
    axes = tuple(sorted(a % x.ndim for a in axes))
    left = [size for a, size in enumerate(x.shape) if a not in axes]
    flat = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(*left, prod(x.shape[a] for a in axes))
    top = np.take_along_axis(flat, np.argmax(flat.real, axis=-1)[..., None], axis=-1)
    return np.expand_dims(top[..., 0], axes)


def among_largest(x: Any, count: int) -> Any:
    """Which values are among the ``count`` largest over the last axis, bool; of equal ones the first are.

    No primitive: choosing rounds nothing. A choice between values that are all but equal is a kink.
    """
    order = np.argsort(-x.real, axis=-1, kind="stable")
    if count < x.shape[-1]:
        last, next_ = (np.take_along_axis(x.real, order[..., i : i + 1], -1) for i in (count - 1, count))
        kink_if_lost(last - next_, last)
    keep = np.zeros(x.shape, bool)
    np.put_along_axis(keep, order[..., :count], True, axis=-1)
    return keep


@primitive
def at_most(x: Any, bound: float) -> Any:
    """min(x, bound), and 0 for the derivative there."""
    kink(lambda: x.real == bound)
    if not np.iscomplexobj(x):
        return np.minimum(x.real, bound)
    return np.where(x.real < bound, x, x.dtype.type(bound))


@primitive
def bounded(x: Any, bound: float) -> Any:
    """min(max(x, −bound), bound), and 0 for the derivative at either."""
    kink(lambda: np.isin(x.real, (-bound, bound)))
    if not np.iscomplexobj(x):
        return np.minimum(np.maximum(x.real, -bound).real, bound)
    inside = np.where(x.real < bound, x, x.dtype.type(bound))
    return np.where(x.real > -bound, inside, x.dtype.type(-bound))
