"""Stem of a speech encoder for torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from attn_ref.blocks.conv_stem import ConvStem as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.conv import Conv1d
from attn_ref_torch.mirror import Mirror


class ConvStem(Mirror):
    """Mirror of ``attn_ref.ConvStem``, with the same arguments. x is (b, channels, frames)."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        kernel_size: int = 3,
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.first = Conv1d(channels, width, kernel_size, padding=kernel_size // 2)
        self.second = Conv1d(width, width, kernel_size, stride=stride, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        x = tap("first", self.first(x), "b c N")
        x = self.second(tap("first_active", F.gelu(x), "b c N"))
        return tap("second_active", F.gelu(tap("second", x.transpose(1, 2), "b t c")), "b t c")
