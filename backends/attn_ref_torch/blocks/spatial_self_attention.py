"""Spatial self-attention (SAGAN) for torch, channels first."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.spatial_self_attention import SpatialSelfAttention as Reference
from attn_ref.tap import probing, tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror

FUSED = "torch.nn.functional.scaled_dot_product_attention"


class SpatialSelfAttention(Mirror):
    """Mirror of ``attn_ref.SpatialSelfAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        head_width: int | None = None,
        value_head_width: int | None = None,
        sub_sample: bool = False,
        project: bool = False,
        use_bias: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        d, e = head_width or max(1, channels // 8), value_head_width or channels
        self.gate = nn.Parameter(torch.zeros(1))
        self.query = nn.Conv2d(channels, d, 1, bias=use_bias)
        self.key = nn.Conv2d(channels, d, 1, bias=use_bias)
        self.value = nn.Conv2d(channels, e, 1, bias=use_bias)
        self.project = nn.Conv2d(e, channels, 1, bias=use_bias) if project else None
        self.pool = nn.MaxPool2d(2) if sub_sample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        q = tap("query", self.pixels(self.query(x)), "b t d")
        k = tap("key", self.pixels(self.pool(self.key(x))), "b s d")
        v = tap("value", self.pixels(self.pool(self.value(x))), "b s e")
        y = self.attend(q, k, v).transpose(1, 2).unflatten(2, x.shape[2:])
        y = tap("context", y, "b c H W")
        if self.project is not None:
            y = tap("projected", self.project(y), "b c H W")
        return self.gate * y + x

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not probing():
            return F.scaled_dot_product_attention(q, k, v, scale=1.0)
        scores = tap("scores", q @ k.transpose(1, 2), "b t s")
        return tap("weights", scores.softmax(dim=-1), "b t s") @ v

    @staticmethod
    def pixels(x: Tensor) -> Tensor:
        """(b, c, H, W) → (b, H·W, c)."""
        return x.flatten(2).transpose(1, 2)
