"""Rotary position embedding for torch."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_ref.blocks.rotary_embedding import RotaryEmbedding as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class RotaryEmbedding(Mirror):
    """Mirror of ``attn_ref.RotaryEmbedding``, with the same arguments. It holds no tensors."""

    def __init__(
        self,
        *,
        width: int,
        rotary_width: int | None = None,
        pairing: str = "half",
        base: float = 10000.0,
        scaling: float = 1.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.rotary_width = width if rotary_width is None else rotary_width
        self.pairing, self.base, self.scaling = pairing, base, scaling

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        check(self, x=x, positions=positions)
        if positions is None:
            positions = torch.arange(x.shape[2], device=x.device)
        angles = tap("angles", self.angles(torch.atleast_2d(positions), x), "b t f")
        cos, sin = angles.cos().to(x.dtype)[:, None], angles.sin().to(x.dtype)[:, None]

        turning, rest = x[..., : self.rotary_width], x[..., self.rotary_width :]
        if self.pairing == "half":
            a, b = turning.chunk(2, dim=-1)
            turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
        else:
            a, b = turning[..., 0::2], turning[..., 1::2]
            turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
        return tap("rotated", torch.cat([turned, rest], dim=-1), "b h t d")

    def angles(self, positions: Tensor, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)  # in a narrower dtype far positions would be one
        exponents = torch.arange(0, self.rotary_width, 2, dtype=wide, device=x.device) / self.rotary_width
        return positions[..., None].to(wide) / self.scaling * self.base**-exponents
