"""Text encoder of the BERT family for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_ref.models.text_encoder import TextEncoder as Reference
from attn_ref.tap import scope, tap
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
        num_segments: int | None,
        width: int,
        num_layers: int,
        num_heads: int,
        hidden_width: int,
        activation: str = "gelu",
        eps: float = 1e-12,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        padding_id: int | None = None,
        embedding_width: int | None = None,
        shared_layers: bool = False,
        pooler: bool = False,
        pooling: str = "none",
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.pooling, self.padding_id, self.num_layers = pooling, padding_id, num_layers
        narrow, rows = embedding_width or width, max_length if padding_id is None else max_length + padding_id + 1
        self.token = nn.Embedding(vocab_size, narrow)
        self.position = nn.Embedding(rows, narrow)
        self.segment = nn.Embedding(num_segments, narrow) if num_segments else None
        self.embedding_norm = nn.LayerNorm(narrow, eps=eps)
        self.drop = nn.Dropout(dropout)
        self.embedding_project = nn.Linear(narrow, width) if embedding_width else None
        made = [
            EncoderLayer(
                width=width,
                num_heads=num_heads,
                hidden_width=hidden_width,
                activation=activation,
                eps=eps,
                dropout=dropout,
                attention_dropout=attention_dropout,
            )
            for _ in range(1 if shared_layers else num_layers)
        ]
        self.layer = made[0] if shared_layers else None
        self.layers = nn.ModuleList([] if shared_layers else made)
        self.pool = nn.Linear(width, width) if pooler else None

    def forward(
        self, token_ids: Tensor, padding_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        check(self, token_ids=token_ids, padding_mask=padding_mask, segment_ids=segment_ids)
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        if self.padding_id is not None:
            real = (token_ids != self.padding_id).long()
            positions = real.cumsum(dim=1) * real + self.padding_id
        x = self.token(token_ids) + self.position(positions)
        if self.segment is not None:
            x = x + self.segment(torch.zeros_like(token_ids) if segment_ids is None else segment_ids)
        x = tap("embedded", x, "b t u")
        x = dropout(self.drop, tap("embedding_norm", self.embedding_norm(x), "b t u"), "b t u")
        if self.embedding_project is not None:
            x = tap("embedding_projected", self.embedding_project(x), "b t c")

        keys = None if padding_mask is None else padding_mask[:, None, None, :]
        for i in range(self.num_layers):
            if self.layer is None:
                x = self.layers[i](x, attention_mask=keys)
            else:
                with scope(f"layers.{i}"):
                    x = self.layer(x, attention_mask=keys)
            x = tap(f"layer_{i}", x, "b t c")

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
