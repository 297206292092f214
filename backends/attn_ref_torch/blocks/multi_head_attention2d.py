"""Multi-head attention over the pixels of a feature map for torch, channels first."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.multi_head_attention2d import MultiHeadAttention2d as Reference
from attn_ref.tap import tap
from attn_ref_torch.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class MultiHeadAttention2d(Mirror):
    """Mirror of ``attn_ref.MultiHeadAttention2d``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        num_heads: int,
        head_width: int | None = None,
        value_head_width: int | None = None,
        output_channels: int | None = None,
        scale: float | str | None = "head",
        activation: str | None = None,
        position: str | None = None,
        project: bool = True,
        residual: bool = False,
        use_bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.num_heads, self.activation, self.residual = num_heads, activation, residual
        d = head_width or channels // num_heads
        e = value_head_width or d
        self.position = nn.Conv2d(channels, channels, 1, bias=use_bias) if position else None
        self.query = nn.Conv2d(channels, num_heads * d, 1, bias=use_bias)
        self.key = nn.Conv2d(channels, num_heads * d, 1, bias=use_bias)
        self.value = nn.Conv2d(channels, num_heads * e, 1, bias=use_bias)
        self.project = nn.Conv2d(num_heads * e, output_channels or channels, 1, bias=use_bias) if project else None
        self.attention = ScaledDotProductAttention(scale=scale, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        pixels = x
        if self.position is not None:
            pixels = tap("positioned", x + F.relu(self.position(x)), "b c H W")
        q = tap("query", self.heads(self.query(pixels)), "b h t d")
        k = tap("key", self.heads(self.key(pixels)), "b h s d")
        v = tap("value", self.heads(self.value(pixels)), "b h s e")

        context = self.attention(q, k, v)
        y = tap("merged", context.transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:]), "b c H W")
        if self.project is not None:
            y = tap("projected", self.project(y), "b c H W")
        return y + x if self.residual else y

    def heads(self, x: Tensor) -> Tensor:
        """(b, h·d, H, W) → (b, h, H·W, d), after the activation."""
        active = F.relu(x) if self.activation == "relu" else x
        return active.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)
