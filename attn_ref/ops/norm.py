"""Normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.mode import is_training
from attn_ref.ops.primitive import after, kink_if_lost, primitive
from attn_ref.tap import scope, tap


@primitive
def mean(x: Any, axis: int | tuple[int, ...] = -1, *, keepdims: bool = False) -> Any:
    """Σ x / n over ``axis``."""
    y = np.mean(x, axis=axis, keepdims=keepdims)
    return after(y, x.size // max(y.size, 1))


@primitive
def sqrt(x: Any) -> Any:
    """√x."""
    return np.sqrt(x)


@primitive
def layer_norm(x: Any, scale: Any = None, offset: Any = None, *, eps: float) -> Any:
    """(x − mean) / √(variance + eps) · scale + offset over the last axis, the variance being the biased one.

    Without scale or offset as with 1 or 0.

    Ba, Kiros and Hinton 2016, "Layer Normalization", equations 3 and 4 (there without eps).
    """
    centred = x - mean(x, keepdims=True)
    variance = mean(centred * centred, keepdims=True)
    y = centred / sqrt(variance + eps)
    y = y if scale is None else y * scale
    return y if offset is None else y + offset


@primitive
def rms_norm(x: Any, scale: Any = None, *, eps: float) -> Any:
    """x / √(mean(x²) + eps) · scale over the last axis. Zhang and Sennrich 2019, equation 4 (there without eps)."""
    y = x / sqrt(mean(x * x, keepdims=True) + eps)
    return y if scale is None else y * scale


def batch_norm(x: Any, w: Any, *, eps: float, momentum: float, unbiased: bool) -> Any:
    """(x − mean) / √(variance + eps) · scale + offset, every channel (the last axis) by itself.

    By the running statistics ``w["mean"]`` and ``w["variance"]``; in training by the batch's own, its variance the
    biased one. What the running ones become then are taps, (1 − momentum) · running + momentum · batch; there the
    batch's variance is the ``unbiased`` one (torch) or not (Keras, whose momentum is 1 − this one).

    Ioffe and Szegedy 2015, "Batch Normalization", algorithms 1 and 2. ValueError for training on one value a channel.
    """
    with scope(w.name):
        return standardised(
            x, w["mean"], w["variance"], w["scale"], w["offset"], eps=eps, momentum=momentum, unbiased=unbiased
        )


@primitive
def standardised(
    x: Any, centre: Any, variance: Any, scale: Any, offset: Any, *, eps: float, momentum: float, unbiased: bool
) -> Any:
    """``batch_norm`` of arrays, statistics included: engines compute all of it in one precision."""
    if is_training():
        count = x.size // x.shape[-1]
        if count < 2:
            raise ValueError(f"batch norm: training takes at least 2 values for each channel; got {count}")
        axes = tuple(range(x.ndim - 1))
        batch = mean(x, axes)
        spread = mean((x - batch) * (x - batch), axes)
        corrected = spread * (count / (count - 1)) if unbiased else spread
        tap("running_mean", (1.0 - momentum) * centre + momentum * batch, "c")
        tap("running_variance", (1.0 - momentum) * variance + momentum * corrected, "c")
        return whitened(x, batch, spread, eps=eps) * scale + offset
    return (x - centre) / sqrt(variance + eps) * scale + offset


@primitive
def whitened(x: Any, centre: Any, spread: Any, *, eps: float) -> Any:
    """(x − centre) / √(spread + eps) = y of a batch's own statistics, (dx − mean(dx) − y mean(y dx)) / √… for dy.

    By itself, since every backward pass has only the rounded y: for the same dx everywhere dy is 0 but for that.
    """
    root = sqrt(spread.real + eps)
    kink_if_lost(root, centre.real)
    y = scaled(x.real - centre.real, root)
    if not np.iscomplexobj(x):
        return y
    axes, dx = tuple(range(x.ndim - 1)), x.imag
    return y + 1j * ((dx - mean(dx, axes) - y * mean(y * dx, axes)) / root)


@primitive
def scaled(x: Any, root: Any) -> Any:
    """x / root."""
    return x / root
