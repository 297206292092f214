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

from attn_ref.block import Block, Input, Param, Pick, nest, option, same
from attn_ref.blocks.channel_attention import ChannelAttention
from attn_ref.blocks.spatial_attention import SpatialAttention


@dataclass(frozen=True, kw_only=True)
class CBAM(Block):
    """Channel attention, then spatial attention."""

    channels: int = option(meaning="channels that come in and out", above=0, witness=12)
    reduction: int = same(
        ChannelAttention, "reduction", meaning="channel attention's bottleneck has channels // reduction values"
    )
    reduced_width: int | None = same(ChannelAttention, "reduced_width")
    use_bias: bool = same(ChannelAttention, "use_bias", meaning="have channel attention's linear layers a bias?")
    kernel_size: int = same(SpatialAttention, "kernel_size", meaning="of spatial attention's convolution; odd")
    batch_norm: bool = same(SpatialAttention, "batch_norm", meaning="does a batch norm follow that convolution?")
    eps: float = same(SpatialAttention, "eps")
    momentum: float = same(SpatialAttention, "momentum")
    unbiased: bool = same(SpatialAttention, "unbiased")

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b H W c"
    example = {"channels": 8, "reduction": 4, "kernel_size": 3}

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.channel_attention, self.spatial_attention  # how their options go together is checked there

    @cached_property
    def channel_attention(self) -> ChannelAttention:
        return ChannelAttention.from_options(self.fields())

    @cached_property
    def spatial_attention(self) -> SpatialAttention:
        return SpatialAttention.from_options(self.fields())

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
