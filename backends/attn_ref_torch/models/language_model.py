"""Language model of the GPT family for torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.block import Block
from attn_ref.kv_cache import past, seen
from attn_ref.models.language_model import LanguageModel as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout
from attn_ref_torch.mirror import Mirror, mirrored


class LanguageModel(Mirror):
    """Mirror of ``attn_ref.LanguageModel``, with the same arguments."""

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        num_layers: int,
        layer: Block,
        other_layer: Block | None = None,
        pattern: str = "l",
        max_length: int | None = None,
        position_bias: Block | None = None,
        embedding_scale: float = 1.0,
        embedding_norm: Block | None = None,
        first_norm: bool = True,
        final_norm: Block | None = None,
        head: str | None = "own",
        softcap: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = block = Reference.from_options(locals())
        self.embedding_scale, self.softcap, self.tied = embedding_scale, softcap, head == "tied"
        self.token = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(max_length, width) if max_length else None
        self.position_bias: Any = mirrored(block.position_bias)
        self.embedding_norm: Any = mirrored(block.embedding_norm)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(mirrored(layer) for layer in block.layers)
        self.final_norm: Any = mirrored(block.final_norm)
        self.head = nn.Linear(width, vocab_size, bias=False) if head == "own" else None

    def forward(self, token_ids: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        check(self, token_ids=token_ids, padding_mask=padding_mask)
        before = past()
        positions = torch.arange(before + token_ids.shape[1], device=token_ids.device)
        x = self.token(token_ids) * self.embedding_scale
        if self.position is not None:
            x = x + self.position(positions[before:])
        x = tap("embedded", x, "b t c")
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = dropout(self.drop, x, "b t c")

        real = seen(padding_mask)
        keys = None if real is None else real[:, None, None, :]
        bias = None if self.position_bias is None else self.position_bias(positions[before:], positions)[None]
        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x, attention_mask=keys, bias=bias), "b t c")

        if self.final_norm is not None:
            x = self.final_norm(x)
        if self.head is None and not self.tied:
            return x
        x = tap("logits", F.linear(x, self.token.weight) if self.head is None else self.head(x), "b t v")
        return x if self.softcap is None else tap("capped", torch.tanh(x / self.softcap) * self.softcap, "b t v")
