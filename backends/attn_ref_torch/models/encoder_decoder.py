"""Encoder and decoder for torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.block import Block
from attn_ref.kv_cache import remembered
from attn_ref.models.encoder_decoder import EncoderDecoder as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror, mirrored


class EncoderDecoder(Mirror):
    """Mirror of ``attn_ref.EncoderDecoder``, with the same arguments. ``features`` is (b, channels, frames)."""

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        encoder: Block,
        decoder: Block,
        stem: Block | None = None,
        embedding_scale: float = 1.0,
        head: str | None = "own",
        head_scale: float = 1.0,
        head_bias: bool = False,
    ) -> None:
        super().__init__()
        self.block = block = Reference.from_options(locals())
        self.embedding_scale, self.head_scale, self.tied = embedding_scale, head_scale, head == "tied"
        self.token = nn.Embedding(vocab_size, width)
        self.stem: Any = mirrored(block.stem)
        self.encoder: Any = mirrored(block.encoder)
        self.decoder: Any = mirrored(block.decoder)
        self.head = nn.Linear(width, vocab_size, bias=False) if head == "own" else None
        self.logits_bias = nn.Parameter(torch.zeros(vocab_size)) if head_bias else None

    def forward(
        self,
        source_ids: Tensor | None = None,
        features: Tensor | None = None,
        token_ids: Tensor | None = None,
        source_mask: Tensor | None = None,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        check(
            self, source_ids=source_ids, features=features, token_ids=token_ids, source_mask=source_mask,
            padding_mask=padding_mask,
        )  # fmt: skip
        assert token_ids is not None

        def encode() -> Tensor:
            if self.stem is not None:
                x = tap("stem", self.stem(features), "b n c")
            else:
                x = tap("source", self.token(source_ids) * self.embedding_scale, "b n c")
            return tap("memory", self.encoder(x, padding_mask=source_mask), "b n c")

        memory = remembered(encode)
        x = tap("target", self.token(token_ids) * self.embedding_scale, "b t c")
        x = self.decoder(x, memory, padding_mask=padding_mask, memory_mask=source_mask)
        if self.head is None and not self.tied:
            return x
        x = x * self.head_scale
        kernel = self.token.weight if self.head is None else self.head.weight
        return tap("logits", F.linear(x, kernel, self.logits_bias), "b t v")
