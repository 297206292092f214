r"""Convolutional block attention module: channel attention, and then spatial attention of what it gives.

.. math:: Y = A_s(A_c(X))

b batch, H height, W width, c channels. A_c is ``ChannelAttention`` and A_s ``SpatialAttention``; both multiply what
comes in, so that shapes stay.

Differences: those of its two parts. The paper compares other orders, and both side by side, and keeps this one. There
the module stands in a residual branch, before the sum; the sum is not part of it.

Source: Woo et al. 2018, "CBAM: Convolutional Block Attention Module", equation 1.

>>> import attn_ref as ar, numpy as np
>>> block = ar.CBAM(channels=8, reduction=4)
>>> block(block.init(), np.ones((1, 5, 6, 8))).shape
(1, 5, 6, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref.block import Block, Input, Param, Pick, nest
from attn_ref.blocks.channel_attention import ChannelAttention
from attn_ref.blocks.spatial_attention import SpatialAttention


@dataclass(frozen=True, kw_only=True)
class CBAM(Block):
    """Channel attention, then spatial attention."""

    #: channels that come in and out
    channels: int
    #: channel attention's bottleneck has channels // reduction values
    reduction: int = 16
    #: how many values it has instead; None: channels // reduction
    reduced_width: int | None = None
    #: have channel attention's linear layers a bias?
    use_bias: bool = False
    #: of spatial attention's convolution; odd
    kernel_size: int = 7
    #: does a batch norm follow that convolution?
    batch_norm: bool = False
    #: added to the variance in that norm
    eps: float = 1e-5
    #: the share of the new value in the norm's running statistics
    momentum: float = 0.1
    #: does the running variance follow the batch's unbiased variance?
    unbiased: bool = True

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b H W c"
    example = {"channels": 8, "reduction": 4, "kernel_size": 3}
    witnesses = {
        "channels": 12,
        "reduction": 2,
        "reduced_width": 3,
        "use_bias": True,
        "kernel_size": 5,
        "batch_norm": True,
        "eps": {"batch_norm": True, "eps": 0.1},
        "momentum": {"batch_norm": True, "momentum": 0.5},
        "unbiased": {"batch_norm": True, "unbiased": False},
    }

    def __post_init__(self) -> None:
        _ = self.channel_attention, self.spatial_attention  # their options are checked there

    @cached_property
    def channel_attention(self) -> ChannelAttention:
        return ChannelAttention(
            channels=self.channels,
            reduction=self.reduction,
            reduced_width=self.reduced_width,
            use_bias=self.use_bias,
        )

    @cached_property
    def spatial_attention(self) -> SpatialAttention:
        return SpatialAttention(
            kernel_size=self.kernel_size,
            batch_norm=self.batch_norm,
            eps=self.eps,
            momentum=self.momentum,
            unbiased=self.unbiased,
        )

    def params(self) -> dict[str, Param]:
        return {
            **nest("channel_attention", self.channel_attention),
            **nest("spatial_attention", self.spatial_attention),
        }

    @classmethod
    def sample(cls, pick: Pick) -> CBAM:
        channel, spatial = ChannelAttention.sample(pick), SpatialAttention.sample(pick)
        return cls(**channel.fields(), **spatial.fields())

    def forward(self, w: Any, x: Any) -> np.ndarray:
        return self.spatial_attention(w["spatial_attention"], self.channel_attention(w["channel_attention"], x))
