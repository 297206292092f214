"""Convolutional block attention module for torch."""

from __future__ import annotations

from torch import Tensor

from attn_ref.blocks.cbam import CBAM as Reference
from attn_ref_torch.blocks.channel_attention import ChannelAttention
from attn_ref_torch.blocks.spatial_attention import SpatialAttention
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class CBAM(Mirror):
    """Mirror of ``attn_ref.CBAM``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        reduction: int = 16,
        reduced_width: int | None = None,
        use_bias: bool = False,
        kernel_size: int = 7,
        batch_norm: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.channel_attention = ChannelAttention(
            channels=channels, reduction=reduction, reduced_width=reduced_width, use_bias=use_bias
        )
        self.spatial_attention = SpatialAttention(
            kernel_size=kernel_size, batch_norm=batch_norm, eps=eps, momentum=momentum, unbiased=unbiased
        )

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        return self.spatial_attention(self.channel_attention(x))
