"""Efficient channel attention for torch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from attn_ref.blocks.efficient_channel_attention import EfficientChannelAttention as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class EfficientChannelAttention(Mirror):
    """Mirror of ``attn_ref.EfficientChannelAttention``, with the same arguments; images are (b, channels, H, W)."""

    def __init__(
        self,
        *,
        channels: int,
        kernel_size: int = 3,
        circular: bool = False,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        around: Literal["circular", "zeros"] = "circular" if circular else "zeros"
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, padding_mode=around, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        squeezed = tap("squeezed", x.mean(dim=(2, 3)), "b c")
        mixed = tap("mixed", self.conv(squeezed[:, None])[:, 0], "b c")
        gate = tap("gate", mixed.sigmoid(), "b c")
        return tap("scaled", x * gate[..., None, None], "b c H W")
