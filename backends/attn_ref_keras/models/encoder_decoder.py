"""Encoder and decoder for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.block import Block
from attn_ref.kv_cache import remembered
from attn_ref.models.encoder_decoder import EncoderDecoder as Reference
from attn_ref.tap import tap
from attn_ref_keras.mirror import Mirror, mirrored


@keras.saving.register_keras_serializable("attn_ref")
class EncoderDecoder(Mirror):
    """Mirror of ``attn_ref.EncoderDecoder``, with the same arguments."""

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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = block = Reference.from_options(locals())
        self.embedding_scale, self.head_scale, self.tied = embedding_scale, head_scale, head == "tied"
        self.width, self.vocab_size, self.biased, policy = width, vocab_size, head_bias, self.dtype_policy
        self.token = keras.layers.Embedding(vocab_size, width, dtype=policy)
        self.stem: Any = mirrored(block.stem, policy)
        self.encoder: Any = mirrored(block.encoder, policy)
        self.decoder: Any = mirrored(block.decoder, policy)
        self.head = keras.layers.Dense(vocab_size, use_bias=False, dtype=policy) if head == "own" else None

    def build(self, input_shape: Any) -> None:
        for part in (self.token, self.stem, self.encoder, self.decoder):
            if part is not None:
                part.build(None)
        if self.head is not None:
            self.head.build((None, None, self.width))
        if self.biased:
            self.logits_bias = self.add_weight(name="logits_bias", shape=(self.vocab_size,), initializer="zeros")
        self.built = True

    def call(
        self, source_ids: Any = None, features: Any = None, token_ids: Any = None, source_mask: Any = None,
        padding_mask: Any = None, training: bool | None = None,
    ) -> Any:  # fmt: skip
        self.check(
            source_ids=source_ids, features=features, token_ids=token_ids, source_mask=source_mask,
            padding_mask=padding_mask,
        )  # fmt: skip

        def encode() -> Any:
            if self.stem is not None:
                x = tap("stem", self.stem(features), "b n c")
            else:
                x = tap("source", self.token(source_ids) * self.embedding_scale, "b n c")
            return tap("memory", self.encoder(x, padding_mask=source_mask, training=training), "b n c")

        memory = remembered(encode)
        x = tap("target", self.token(token_ids) * self.embedding_scale, "b t c")
        x = self.decoder(x, memory, padding_mask=padding_mask, memory_mask=source_mask, training=training)
        if self.head is None and not self.tied:
            return x
        x = x * self.head_scale
        x = self.tied_logits(x) if self.head is None else self.head(x)
        return tap("logits", x + self.bias_like(x) if self.biased else x, "b t v")

    def tied_logits(self, x: Any) -> Any:
        return ops.matmul(x, ops.transpose(ops.cast(self.token.embeddings, x.dtype)))

    def bias_like(self, x: Any) -> Any:
        return ops.cast(self.logits_bias, x.dtype)
