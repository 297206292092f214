"""Transformer encoder layer for torch."""

from __future__ import annotations

from torch import Tensor, nn

from attn_ref.blocks.encoder_layer import EncoderLayer as Reference
from attn_ref.tap import tap
from attn_ref_torch.blocks.feed_forward import FeedForward
from attn_ref_torch.blocks.multi_head_attention import MultiHeadAttention
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout
from attn_ref_torch.mirror import Mirror


class EncoderLayer(Mirror):
    """Mirror of ``attn_ref.EncoderLayer``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        hidden_width: int,
        activation: str = "relu",
        norm_first: bool | None = False,
        eps: float = 1e-5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.norm_first = norm_first
        self.attention = MultiHeadAttention(width=width, num_heads=num_heads, dropout=attention_dropout)
        if norm_first is not None:
            self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward = FeedForward(width=width, hidden_width=hidden_width, activation=activation, dropout=dropout)
        if norm_first is not None:
            self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        check(self, x=x, attention_mask=attention_mask, bias=bias)
        if self.norm_first:
            normed = tap("attention_norm", self.attention_norm(x), "b t c")
            x = tap("attended", x + self.attend(normed, attention_mask, bias), "b t c")
            normed = tap("feed_forward_norm", self.feed_forward_norm(x), "b t c")
            return tap("fed", x + self.feed(normed), "b t c")
        x = tap("attended", x + self.attend(x, attention_mask, bias), "b t c")
        if self.norm_first is None:
            return tap("fed", x + self.feed(x), "b t c")
        x = tap("attention_norm", self.attention_norm(x), "b t c")
        x = tap("fed", x + self.feed(x), "b t c")
        return tap("feed_forward_norm", self.feed_forward_norm(x), "b t c")

    def attend(self, x: Tensor, attention_mask: Tensor | None, bias: Tensor | None) -> Tensor:
        y = self.attention(x, attention_mask=attention_mask, bias=bias)
        return dropout(self.drop, y, "b t c", "keep_attention")

    def feed(self, x: Tensor) -> Tensor:
        return dropout(self.drop, self.feed_forward(x), "b t c", "keep_feed_forward")
