"""Language model of the GPT family for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.block import Block
from attn_ref.kv_cache import past, seen
from attn_ref.models.language_model import LanguageModel as Reference
from attn_ref.tap import tap
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror, mirrored


@keras.saving.register_keras_serializable("attn_ref")
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = block = Reference.from_options(locals())
        self.embedding_scale, self.softcap, self.tied, self.width = embedding_scale, softcap, head == "tied", width
        policy = self.dtype_policy
        self.token = keras.layers.Embedding(vocab_size, width, dtype=policy)
        self.position = keras.layers.Embedding(max_length, width, dtype=policy) if max_length else None
        self.position_bias: Any = mirrored(block.position_bias, policy)
        self.embedding_norm: Any = mirrored(block.embedding_norm, policy)
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        self.layers = [mirrored(layer, policy) for layer in block.layers]
        self.final_norm: Any = mirrored(block.final_norm, policy)
        self.head = keras.layers.Dense(vocab_size, use_bias=False, dtype=policy) if head == "own" else None

    def build(self, input_shape: Any) -> None:
        parts = (self.token, self.position, self.position_bias, self.embedding_norm, *self.layers, self.final_norm)
        for part in parts:
            if part is not None:
                part.build(None)
        if self.head is not None:
            self.head.build((None, None, self.width))
        self.built = True

    def call(self, token_ids: Any, padding_mask: Any = None, training: bool | None = None) -> Any:
        self.check(token_ids=token_ids, padding_mask=padding_mask)
        before = past()
        positions = ops.arange(before + ops.shape(token_ids)[1])
        x = self.token(token_ids) * self.embedding_scale
        if self.position is not None:
            x = x + self.position(positions[before:])
        x = tap("embedded", x, "b t c")
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = drop(self.drop, x, "b t c", training)

        real = seen(padding_mask)
        keys = None if real is None else real[:, None, None, :]
        bias = None if self.position_bias is None else self.position_bias(positions[before:], positions)[None]
        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x, attention_mask=keys, bias=bias, training=training), "b t c")

        if self.final_norm is not None:
            x = self.final_norm(x)
        if self.head is None and not self.tied:
            return x
        x = tap("logits", self.tied_logits(x) if self.head is None else self.head(x), "b t v")
        return x if self.softcap is None else tap("capped", self.capped(x), "b t v")

    def tied_logits(self, x: Any) -> Any:
        return ops.matmul(x, ops.transpose(ops.cast(self.token.embeddings, x.dtype)))

    def capped(self, x: Any) -> Any:
        return ops.cast(ops.tanh(x / self.softcap), x.dtype) * self.softcap
