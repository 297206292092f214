"""What layers over space share: padding that is explicit, and means that keep their dtype."""

from __future__ import annotations

import math
from typing import Any

from keras import ops


def mean_over_space(x: Any) -> Any:
    """(b, H, W, c) → (b, c). A sum and a division: on JAX ops.mean computes float64 in float32."""
    _, h, w, _ = ops.shape(x)
    return ops.sum(x, axis=(1, 2)) / ops.cast(h * w, x.dtype)


def padded(x: Any, size: int, value: float = 0.0) -> Any:
    """``size`` of ``value`` before and after both spatial axes. Keras' "same" pads unevenly where there is a stride."""
    return ops.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), constant_values=value) if size else x


def max_pool(x: Any, size: int, stride: int, padding: int) -> Any:
    """The largest of every window; what pads never wins."""
    return ops.max_pool(
        padded(x, padding, -math.inf), size, strides=stride, padding="valid", data_format="channels_last"
    )


def largest(x: Any, axis: int | tuple[int, ...], keepdims: bool = False) -> Any:
    """The largest over ``axis``. On TensorFlow ops.max refuses an empty batch unless it is told where to begin."""
    return ops.max(x, axis=axis, keepdims=keepdims, initial=-math.inf)
