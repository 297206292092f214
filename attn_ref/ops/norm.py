"""Normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.mode import is_training
from attn_ref.ops.primitive import primitive
from attn_ref.tap import scope, tap


@primitive
def mean(x: Any, axis: int | tuple[int, ...] = -1, *, keepdims: bool = False) -> Any:
    """Σ x / n over ``axis``."""
    return np.mean(x, axis=axis, keepdims=keepdims)


@primitive
def sqrt(x: Any) -> Any:
    """√x."""
    return np.sqrt(x)


@primitive
def layer_norm(x: Any, scale: Any, offset: Any, *, eps: float) -> Any:
    """(x − mean) / √(variance + eps) · scale + offset over the last axis, the variance being the biased one.

    Ba, Kiros and Hinton 2016, "Layer Normalization", equations 3 and 4 (there without eps).
    """
    centred = x - mean(x, keepdims=True)
    variance = mean(centred * centred, keepdims=True)
    return centred / sqrt(variance + eps) * scale + offset


@primitive
def rms_norm(x: Any, scale: Any, *, eps: float) -> Any:
    """x / √(mean(x²) + eps) · scale over the last axis. Zhang and Sennrich 2019, equation 4 (there without eps)."""
    return x / sqrt(mean(x * x, keepdims=True) + eps) * scale


def batch_norm(x: Any, w: Any, *, eps: float, momentum: float, unbiased: bool) -> Any:
    """(x − mean) / √(variance + eps) · scale + offset, every channel (the last axis) by itself.

    By the running statistics ``w["mean"]`` and ``w["variance"]``; in training by the batch's own, its variance the
    biased one. What the running ones become then are taps, (1 − momentum) · running + momentum · batch; there the
    batch's variance is the ``unbiased`` one (torch) or not (Keras, whose momentum is 1 − this one).

    Ioffe and Szegedy 2015, "Batch Normalization", algorithms 1 and 2. ValueError for training on one value a channel.
    """
    with scope(w.name):
        centre, variance = w["mean"], w["variance"]
        if is_training():
            count = x.size // x.shape[-1]
            if count < 2:
                raise ValueError(f"batch norm: training takes at least 2 values for each channel; got {count}")
            axes = tuple(range(x.ndim - 1))
            batch = mean(x, axes)
            spread = variance_about(batch, x, axes)
            corrected = spread * (count / (count - 1)) if unbiased else spread
            tap("running_mean", (1.0 - momentum) * centre + momentum * batch, "c")
            tap("running_variance", (1.0 - momentum) * variance + momentum * corrected, "c")
            centre, variance = batch, spread
        return standardised(x, centre, variance, w["scale"], w["offset"], eps=eps)


@primitive
def variance_about(centre: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """mean((x − centre)²), where ``centre`` is the mean of x; 2 mean((x − centre) dx) for its derivative.

    That through the centre is 2 mean(x − centre) = 0 and left out, as every backward pass does: where the centre is
    large beside the spread, its rounding shows there.
    """
    centred = (x - centre).real
    y = np.mean(centred * centred, axis=axes)
    return y + 2j * np.mean(centred * x.imag, axis=axes) if np.iscomplexobj(x) else y


@primitive
def standardised(x: Any, centre: Any, variance: Any, scale: Any, offset: Any, *, eps: float) -> Any:
    """(x − centre) / √(variance + eps) · scale + offset."""
    return (x - centre) / sqrt(variance + eps) * scale + offset
