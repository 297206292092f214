"""Text encoder of the BERT family for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_ref.models.text_encoder import TextEncoder as Reference
from attn_ref.tap import tap
from attn_ref_torch.blocks.encoder_layer import EncoderLayer
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout
from attn_ref_torch.mirror import Mirror


class TextEncoder(Mirror):
    """Mirror of ``attn_ref.TextEncoder``, with the same arguments."""

    def __init__(
        self,
        *,
        vocab_size: int,
        max_length: int,
        num_segments: int,
        width: int,
        num_layers: int,
        num_heads: int,
        hidden_width: int,
        activation: str = "gelu",
        eps: float = 1e-12,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        pooler: bool = False,
        pooling: str = "none",
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.pooling = pooling
        self.token = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(max_length, width)
        self.segment = nn.Embedding(num_segments, width)
        self.embedding_norm = nn.LayerNorm(width, eps=eps)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(
                width=width,
                num_heads=num_heads,
                hidden_width=hidden_width,
                activation=activation,
                eps=eps,
                dropout=dropout,
                attention_dropout=attention_dropout,
            )
            for _ in range(num_layers)
        )
        self.pool = nn.Linear(width, width) if pooler else None

    def forward(
        self, token_ids: Tensor, padding_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        check(self, token_ids=token_ids, padding_mask=padding_mask, segment_ids=segment_ids)
        segment_ids = torch.zeros_like(token_ids) if segment_ids is None else segment_ids
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        x = tap("embedded", self.token(token_ids) + self.position(positions) + self.segment(segment_ids), "b t c")
        x = dropout(self.drop, tap("embedding_norm", self.embedding_norm(x), "b t c"), "b t c")

        keys = None if padding_mask is None else padding_mask[:, None, None, :]
        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x, attention_mask=keys), "b t c")

        if self.pool is not None:
            pooled = tap("pooler", torch.tanh(self.pool(x[:, 0])), "b c")
            if self.pooling == "pooler":
                return pooled
        return x if self.pooling == "none" else tap("mean", self.mean(x, padding_mask), "b c")

    def mean(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        if padding_mask is None:
            return x.mean(dim=1)
        real = padding_mask[..., None]
        return (x * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
