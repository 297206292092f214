"""Normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.ops.primitive import primitive


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
