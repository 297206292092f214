"""Attention with linear biases for torch."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_ref.blocks.linear_position_bias import LinearPositionBias as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class LinearPositionBias(Mirror):
    """Mirror of ``attn_ref.LinearPositionBias``, with the same arguments. Its dtype is what ``.to(dtype)`` says."""

    like: Tensor

    def __init__(
        self,
        *,
        num_heads: int,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.num_heads, self.symmetric = num_heads, symmetric
        self.register_buffer("like", torch.empty(0), persistent=False)  # knows dtype and device, and holds no number

    def forward(self, query_positions: Tensor, key_positions: Tensor | None = None) -> Tensor:
        check(self, query_positions=query_positions, key_positions=key_positions)
        key_positions = query_positions if key_positions is None else key_positions
        slopes = tap("slopes", self.slopes(), "h")
        offsets = key_positions.long() - query_positions.long()[:, None]
        offsets = -offsets.abs() if self.symmetric else offsets
        return tap("bias", (slopes[:, None, None] * offsets).to(self.like.dtype), "h t s")

    def slopes(self) -> Tensor:
        n = 2 ** (self.num_heads.bit_length() - 1)
        wide = torch.promote_types(self.like.dtype, torch.float32)  # narrower ones have no whole numbers above 2048
        steps = torch.arange(1, n + 1, dtype=wide, device=self.like.device)
        between = torch.arange(self.num_heads - n, dtype=wide, device=self.like.device) + 0.5
        return torch.exp2(torch.cat([steps, between]) * (-8 / n))
