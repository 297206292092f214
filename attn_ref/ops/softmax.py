"""Softmax, and the mask before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.ops.primitive import primitive
from attn_ref.tap import probing


@primitive
def exp(x: Any, out: Any = None) -> Any:
    """eˣ. A primitive of its own, since where softmax saturates the derivatives of its powers all but cancel."""
    return np.exp(x, out=out)


@primitive
def total_of(x: Any, axis: int) -> Any:
    """Σ x, the axis kept with size 1. Rounded by itself, also where there is a single term: fused kernels do that."""
    return x.sum(axis=axis, keepdims=True)


def room(x: Any, spent: bool) -> Any:
    """``x``, to be written over, if its maker is done with it and nobody heard of it at a tap; otherwise None."""
    return x if spent and not probing() else None


def masked(x: Any, keep: Any, *, spent: bool = False) -> Any:
    """x where ``keep`` (bool, broadcastable) is True, −∞ elsewhere. No primitive: choosing rounds nothing.

    ``spent``: as in ``softmax``.
    """
    if np.iscomplexobj(x):
        return np.where(keep, x, x.dtype.type(-np.inf))
    bound = (keep - x.dtype.type(0.5)) * np.inf  # ∞ or −∞; choosing takes three times as long where neighbours differ
    return np.minimum(x.real, bound, out=room(x, spent))


@primitive
def softmax(x: Any, *, axis: int = -1, sink: Any = None, spent: bool = False) -> Any:
    """exp(x) / Σ exp(x) over ``axis``; 0 where x is −∞, and so a row of −∞ alone gives zeros.

    ``sink``, broadcastable to the sums, is one more logit of each, which takes its share and is not among the results.
    The largest value is subtracted first, which changes nothing but the range: exp never overflows. ``spent``: the
    caller made x and is done with it, so that its memory may be used.
    """
    top = np.max(x.real, axis=axis, keepdims=True)
    if sink is not None:
        top = np.maximum(top.real, sink.real)
    top = np.where(np.isfinite(top), top, 0.0)
    # in place, also below: a new array of this size costs as much as its values
    shifted = np.subtract(x, top, out=room(x, spent and top.dtype == x.real.dtype))
    powers = exp(shifted, out=shifted)
    total = total_of(powers, axis)
    if sink is not None:
        total = total + exp(sink - top)
    total = total + (total == 0)  # 0 / 1 in a row of −∞ alone
    return np.divide(powers, total, out=powers if powers.dtype == total.dtype else None)
