"""Products of matrices and tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.ops.primitive import after_adding, primitive


@primitive
def matmul(a: Any, b: Any, *, factor: float = 1.0) -> Any:
    """The product of the last two axes, the axes before them broadcast, times ``factor``."""
    y = np.matmul(a, b)
    if factor != 1.0:
        y *= factor  # in place: a second array of this size can take as long as the product
    return after_adding(y, a.shape[-1])


def linear(x: Any, kernel: Any, bias: Any = None) -> Any:
    """x W + b over the last axis; ``kernel`` is (in, out), ``bias`` (out,) or absent."""
    y = matmul(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])
    return y if bias is None else y + bias


def embedding(ids: Any, table: Any) -> Any:
    """Row ``ids[…]`` of ``table`` (rows, width): one more axis than ``ids``."""
    return table[ids]
