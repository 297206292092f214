r"""Spatial attention of CBAM: every position is scaled by a share that a convolution decides.

.. math:: Y = X \odot \sigma\bigl(N(K * [\operatorname{mean}_c X;\ \max_c X])\bigr)

b batch, H height, W width, c channels, p the two pooled maps, the mean first, u the one map
that they become, k the kernel size. K is a convolution from 2
channels to 1, without bias, padded by k // 2; N is a batch norm if there is one, and the identity otherwise.

Differences: the paper's equation and many codes pool in this order, but the authors' own code concatenates the
maximum first, so that its kernel has the two slices exchanged; it also has the batch norm (``batch_norm=True``, with
eps 1e-5 and momentum 0.01), which the paper does not write and most others lack. ``momentum`` is the share of the new
value, as in torch; Keras' is 1 − this.

It takes any number of channels, so nothing tells a channels-first map (b, c, H, W) from a channels-last one: it is read
as c rows of W channels.

Source: Woo et al. 2018, "CBAM: Convolutional Block Attention Module", equation 3.

>>> import attn_ref as ar, numpy as np
>>> block = ar.SpatialAttention(kernel_size=3)
>>> block(block.init(), np.ones((1, 5, 6, 8))).shape
(1, 5, 6, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, batch_norm, conv, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class SpatialAttention(Block):
    """Mean and maximum over channels, a convolution, a sigmoid gate for every position."""

    kernel_size: int = option(default=7, meaning="of the convolution; odd", above=0, witness=5)
    batch_norm: bool = option(default=False, meaning="does a batch norm follow the convolution?", witness=True)
    eps: float = option(
        default=1e-5, meaning="added to the variance in that norm", above=0, needs="batch_norm",
        witness={"batch_norm": True, "eps": 0.1},
    )  # fmt: skip
    momentum: float = option(
        default=0.1, meaning="the share of the new value in the norm's running statistics", least=0, most=1,
        needs="batch_norm", witness={"batch_norm": True, "momentum": 0.5},
    )  # fmt: skip
    unbiased: bool = option(
        default=True, meaning="does the running variance follow the batch's unbiased variance?", needs="batch_norm",
        witness={"batch_norm": True, "unbiased": False},
    )  # fmt: skip

    inputs = {"x": Input("b H W c")}
    output_axes = "b H W c"
    example = {"kernel_size": 3}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_odd("kernel_size")

    def params(self) -> dict[str, Param]:
        kernel = conv("conv", (self.kernel_size, self.kernel_size), 2, 1, bias=False)
        return kernel | batch_norm("norm", 1) if self.batch_norm else kernel

    @classmethod
    def sample(cls, pick: Pick) -> SpatialAttention:
        if not pick(True, False):
            return cls(kernel_size=pick(1, 3, 5, 7))
        return cls(
            kernel_size=pick(1, 3, 5, 7),
            batch_norm=True,
            eps=pick(1e-5, 1e-3),
            momentum=pick(0.1, 0.01, 0.3),
            unbiased=pick(True, False),
        )

    def forward(self, w: Any, x: Any) -> np.ndarray:
        mean, top = ops.mean(x, keepdims=True), ops.largest(x, axis=-1, keepdims=True)
        pooled = tap("pooled", np.concatenate([mean, top], axis=-1), "b H W p")
        gate = tap("convolved", ops.conv(pooled, w["conv.kernel"], padding=self.kernel_size // 2), "b H W u")
        if self.batch_norm:
            norm = ops.batch_norm(gate, w["norm"], eps=self.eps, momentum=self.momentum, unbiased=self.unbiased)
            gate = tap("normed", norm, "b H W u")
        gate = tap("gate", ops.sigmoid(gate), "b H W u")
        return tap("scaled", x * gate, "b H W c")
