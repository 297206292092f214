"""Convolution and pooling over any number of spatial axes, channels last, every padding explicit."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from attn_ref.ops.linear import linear
from attn_ref.ops.primitive import primitive
from attn_ref.ops.reduce import largest

#: one number for every spatial axis, or one for each
Sizes = int | Sequence[int]


def conv(x: Any, kernel: Any, bias: Any = None, *, stride: Sizes = 1, padding: Sizes = 0, groups: int = 1) -> Any:
    """y[o] = Σ x[o·stride + k − padding] · kernel[k] + bias over the spatial axes; outside of x is 0.

    x (b, spatial…, in), kernel (spatial…, in / groups, out), bias (out,) or absent, y (b, spatial…, out). Output group
    g, the g-th contiguous slice of the channels, reads input group g. As in every framework the kernel is not flipped:
    this is a correlation. Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning".
    """
    size = kernel.shape[:-2]
    windows = windows_of(x, size, each(stride, size), each(padding, size), 0.0)  # (b, spatial…, in, k…)
    windows = np.moveaxis(windows, len(size) + 1, -1)  # (b, spatial…, k…, in)
    y = [product(part(windows, g, groups), part(kernel, g, groups)) for g in range(groups)]
    joined = np.concatenate(y, axis=-1) if groups > 1 else y[0]
    return joined if bias is None else joined + bias


def product(windows: Any, kernel: Any) -> Any:
    """(b, spatial…, k…, in) and (k…, in, out) → (b, spatial…, out)."""
    left, width = windows.shape[: 1 - kernel.ndim], prod(kernel.shape[:-1])
    return linear(windows.reshape(*left, width), kernel.reshape(width, -1))


@primitive
def max_pool(x: Any, size: Sizes, *, stride: Sizes | None = None, padding: Sizes = 0) -> Any:
    """The largest of every window of ``size``; ``stride`` is the size unless given; padding never wins."""
    count = x.ndim - 2
    size = each(size, range(count))
    windows = windows_of(x, size, each(size if stride is None else stride, size), each(padding, size), -np.inf)
    return largest(windows, axis=tuple(range(-count, 0)))


def windows_of(x: Any, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], outside: float) -> Any:
    """(b, spatial…, c) → (b, windows…, c, size…): every window that lies within the padded array."""
    if any(padding):
        inner, whole = x, [n + 2 * p for n, p in zip(x.shape[1:-1], padding, strict=True)]
        x = np.full((len(inner), *whole, inner.shape[-1]), outside, inner.dtype)
        x[(slice(None), *(slice(p, n - p) for n, p in zip(whole, padding, strict=True)))] = inner
    if prod(size) > 1:
        axes = tuple(range(1, len(size) + 1))
        found = np.lib.stride_tricks.sliding_window_view(x, tuple(size), axis=axes)
    else:
        found = x.reshape(*x.shape, *size)
    return found[(slice(None), *(slice(None, None, step) for step in stride))]


def each(value: Sizes, axes: Sequence[Any] | range) -> tuple[int, ...]:
    """One number for each of ``axes``."""
    return (value,) * len(axes) if isinstance(value, int) else tuple(value)


def part(x: Any, index: int, parts: int) -> Any:
    """The ``index``-th of so many equal contiguous slices of the last axis."""
    width = x.shape[-1] // parts
    return x[..., index * width : (index + 1) * width]
