r"""Efficient channel attention: every channel is scaled by what its mean and those of its neighbours decide.

.. math:: g_c = \sigma\Bigl(\sum_{j=-p}^{p} K_{j+p}\, z_{c+j}\Bigr),\quad z = \operatorname{mean}_{H,W} x,\quad
          p = \tfrac{k-1}{2},\qquad Y = x\, g

b batch, H height, W width, c channels; k is ``kernel_size``. The convolution goes along the channels and has no bias.
Beyond the first and the last channel there are zeros, or with ``circular`` the channels of the other end.

Differences: the paper takes k from the number of channels, the odd number nearest to (log₂ c + 1) / 2. Its authors'
code and timm's ``EcaModule(channels=c)`` round down and then up to odd; timm's is at least 3. Here k is given. timm's
``CecaModule`` is the circular one.

Source: Wang et al. 2020, "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", section 3.2.

>>> import attn_ref as ar, numpy as np
>>> block = ar.EfficientChannelAttention(channels=8)
>>> block(block.init(), np.ones((2, 5, 6, 8))).shape
(2, 5, 6, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, conv, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class EfficientChannelAttention(Block):
    """Means over space, a convolution along the channels, a sigmoid gate for every channel."""

    channels: int = option(meaning="channels that come in and out", above=0, witness=6, draw=(7, 8, 12))
    kernel_size: int = option(
        default=3, meaning="how many channels decide on one; odd", above=0, witness=5, draw=(1, 3, 5, 7)
    )
    circular: bool = option(
        default=False, meaning="are first and last channel neighbours?", witness=True, draw=(False, True)
    )

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b H W c"
    example = {"channels": 8}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_odd("kernel_size")
        self.require(
            self.kernel_size <= self.channels,
            f"kernel_size = {self.kernel_size} is more than channels = {self.channels}",
        )

    def params(self) -> dict[str, Param]:
        return conv("conv", (self.kernel_size,), 1, 1, bias=False)

    def forward(self, w: Any, x: Any) -> np.ndarray:
        squeezed = tap("squeezed", ops.mean(x, axis=(1, 2)), "b c")
        p = self.kernel_size // 2
        ring = squeezed[:, np.arange(-p, self.channels + p) % self.channels]
        line, padding = (ring, 0) if self.circular else (squeezed, p)
        mixed = tap("mixed", ops.conv(line[..., None], w["conv.kernel"], padding=padding)[..., 0], "b c")
        gate = tap("gate", ops.sigmoid(mixed), "b c")
        return tap("scaled", x * gate[:, None, None, :], "b H W c")
