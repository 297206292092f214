"""Attention pooling for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_ref.blocks.attention_pooling import AttentionPooling as Reference
from attn_ref.tap import tap
from attn_ref_torch.blocks.feed_forward import FeedForward
from attn_ref_torch.blocks.multi_head_attention import MultiHeadAttention
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class AttentionPooling(Mirror):
    """Mirror of ``attn_ref.AttentionPooling``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        hidden_width: int,
        activation: str = "relu",
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.probe = nn.Parameter(torch.zeros(1, width))
        self.attention = MultiHeadAttention(width=width, num_heads=num_heads)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward = FeedForward(width=width, hidden_width=hidden_width, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        attended = tap("attended", self.attention(self.probe.expand(x.shape[0], -1, -1), x), "b u c")
        normed = tap("normed", self.norm(attended), "b u c")
        fed = tap("fed", attended + self.feed_forward(normed), "b u c")
        return fed[:, 0]
