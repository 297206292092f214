"""Stack of transformer layers for torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attn_ref.block import Block
from attn_ref.blocks.transformer_stack import TransformerStack as Reference
from attn_ref.kv_cache import past, seen
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout
from attn_ref_torch.mirror import Mirror, mirrored


class TransformerStack(Mirror):
    """Mirror of ``attn_ref.TransformerStack``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        num_layers: int,
        layer: Block,
        max_length: int | None = None,
        position_offset: int = 0,
        position_bias: Block | None = None,
        embedding_norm: Block | None = None,
        final_norm: Block | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = block = Reference.from_options(locals())
        self.position_offset, self.crosses = position_offset, block.cross_attention is not None
        self.position = nn.Embedding(position_offset + max_length, width) if max_length else None
        self.position_bias: Any = mirrored(block.position_bias)
        self.embedding_norm: Any = mirrored(block.embedding_norm)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(mirrored(layer) for layer in block.layers)
        self.final_norm: Any = mirrored(block.final_norm)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        padding_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        check(self, x=x, memory=memory, padding_mask=padding_mask, memory_mask=memory_mask)
        before = past()
        positions = torch.arange(before + x.shape[1], device=x.device)
        if self.position is not None:
            x = x + self.position(positions[before:] + self.position_offset)
        x = tap("embedded", x, "b t c")
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = dropout(self.drop, x, "b t c")

        real = seen(padding_mask)
        given: dict[str, Any] = {"attention_mask": None if real is None else real[:, None, None, :]}
        if self.position_bias is not None:
            given["bias"] = self.position_bias(positions[before:], positions)[None]
        if self.crosses:
            given["memory"] = memory
            given["memory_mask"] = None if memory_mask is None else memory_mask[:, None, None, :]
        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x, **given), "b t c")
        return x if self.final_norm is None else self.final_norm(x)
