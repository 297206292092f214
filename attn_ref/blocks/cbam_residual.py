r"""A residual block with CBAM: convolution, batch norm, ReLU and attention, beside a pooled and projected shortcut.

.. math:: Y = \max\bigl(0,\ A(\max(0, N(K * X + b_K))) + S * P(X) + b_S\bigr)

b batch, H height, W width, c channels in, P and Q height and width that come out, f channels that come out, k the
kernel size. K is a k × k convolution padded by k // 2, N batch norm, A ``CBAM``, whose spatial attention has the same
k; P is max pooling of 3 × 3 padded by 1, whatever k is, and S a 1 × 1 convolution. Both sides take the stride, so that
P = ⌈H / stride⌉ and Q = ⌈W / stride⌉.

Differences: the shortcut is pooled and projected always, where residual networks take the identity if shapes allow; the
paper's own block has two or three convolutions before the attention and a strided 1 × 1 convolution as shortcut. Keras'
``padding="same"`` pads an even size at stride 2 behind only, which shifts every window by one: other numbers. What pads
the maximum never wins, not even over negative values.

Source: Woo et al. 2018, "CBAM: Convolutional Block Attention Module", figure 3; He et al. 2016, "Deep Residual Learning
for Image Recognition"; batch norm: Ioffe and Szegedy 2015.

>>> import attn_ref as ar, numpy as np
>>> block = ar.CBAMResidual(channels=3, output_channels=8)
>>> block(block.init(), np.ones((1, 5, 6, 3))).shape
(1, 3, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, batch_norm, conv, nest, option
from attn_ref.blocks.cbam import CBAM
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class CBAMResidual(Block):
    """Convolution, batch norm, ReLU and CBAM, added to a shortcut of max pooling and a 1 × 1 convolution; ReLU."""

    channels: int = option(meaning="channels that come in", above=0, witness=5, draw=(1, 3, 5))
    output_channels: int = option(meaning="channels that come out", above=0, witness=12, draw=(5, 8, 16, 16))
    kernel_size: int = option(
        default=3, meaning="of the first convolution and of spatial attention's; odd", above=0, witness=5,
        draw=(1, 3, 5, 7),
    )  # fmt: skip
    stride: int = option(
        default=2, meaning="of the first convolution and of the pooling", above=0, witness=1, draw=(1, 2, 2, 3)
    )
    reduction: int = option(
        default=4, meaning="channel attention's bottleneck has output_channels // reduction values", above=0, witness=2,
        draw=(2, 4),
    )  # fmt: skip
    eps: float = option(
        default=1e-5, meaning="added to the variance in the norm", above=0, witness=0.1, draw=(1e-5, 1e-3)
    )
    momentum: float = option(
        default=0.1, meaning="the share of the new value in the norm's running statistics", least=0, most=1,
        witness=0.5, draw=(0.1, 0.01, 0.3),
    )  # fmt: skip
    unbiased: bool = option(
        default=True, meaning="does the running variance follow the batch's unbiased variance?", witness=False,
        draw=(True, False),
    )  # fmt: skip

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b P Q f"
    example = {"channels": 3, "output_channels": 8}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_odd("kernel_size")
        _ = self.attention  # how its options go together is checked there

    @cached_property
    def attention(self) -> CBAM:
        return CBAM(channels=self.output_channels, reduction=self.reduction, kernel_size=self.kernel_size)

    def params(self) -> dict[str, Param]:
        return {
            **conv("conv", (self.kernel_size, self.kernel_size), self.channels, self.output_channels),
            **batch_norm("norm", self.output_channels),
            **nest("attention", self.attention),
            **conv("shortcut", (1, 1), self.channels, self.output_channels),
        }

    def forward(self, w: Any, x: Any) -> np.ndarray:
        convolved = ops.conv(x, w["conv.kernel"], w["conv.bias"], stride=self.stride, padding=self.kernel_size // 2)
        convolved = tap("convolved", convolved, "b P Q f")
        normed = ops.batch_norm(convolved, w["norm"], eps=self.eps, momentum=self.momentum, unbiased=self.unbiased)
        active = tap("active", ops.relu(tap("normed", normed, "b P Q f")), "b P Q f")
        attended = self.attention(w["attention"], active)
        pooled = tap("pooled", ops.max_pool(x, 3, stride=self.stride, padding=1), "b P Q c")
        shortcut = tap("shortcut", ops.conv(pooled, w["shortcut.kernel"], w["shortcut.bias"]), "b P Q f")
        added = tap("added", attended + shortcut, "b P Q f")
        return tap("rectified", ops.relu(added), "b P Q f")
