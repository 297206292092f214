"""Text encoder of the BERT family for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.models.text_encoder import TextEncoder as Reference
from attn_ref.tap import scope, tap
from attn_ref_keras.blocks.encoder_layer import EncoderLayer
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.pooling, self.padding_id, self.num_layers = pooling, padding_id, num_layers
        self.width, self.narrow = width, embedding_width or width
        policy, rows = self.dtype_policy, max_length if padding_id is None else max_length + padding_id + 1
        self.token = keras.layers.Embedding(vocab_size, self.narrow, dtype=policy)
        self.position = keras.layers.Embedding(rows, self.narrow, dtype=policy)
        self.segment = keras.layers.Embedding(num_segments, self.narrow, dtype=policy) if num_segments else None
        self.embedding_norm = keras.layers.LayerNormalization(epsilon=eps, dtype=policy)
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        self.embedding_project = keras.layers.Dense(width, dtype=policy) if embedding_width else None
        made = [
            EncoderLayer(
                width=width,
                num_heads=num_heads,
                hidden_width=hidden_width,
                activation=activation,
                eps=eps,
                dropout=dropout,
                attention_dropout=attention_dropout,
                dtype=policy,
            )
            for _ in range(1 if shared_layers else num_layers)
        ]
        self.layer = made[0] if shared_layers else None
        self.layers = [] if shared_layers else made
        self.pool = keras.layers.Dense(width, dtype=policy) if pooler else None

    def build(self, input_shape: Any) -> None:
        for table in (self.token, self.position, self.segment):
            if table is not None:
                table.build((None, None))
        for part in (self.embedding_norm, self.embedding_project):
            if part is not None:
                part.build((None, None, self.narrow))
        for layer in (self.layer, *self.layers):
            if layer is not None:
                layer.build((None, None, self.width))
        if self.pool is not None:
            self.pool.build((None, self.width))
        self.built = True

    def call(
        self, token_ids: Any, padding_mask: Any = None, segment_ids: Any = None, training: bool | None = None
    ) -> Any:
        self.check(token_ids=token_ids, padding_mask=padding_mask, segment_ids=segment_ids)
        positions = ops.arange(ops.shape(token_ids)[1])
        if self.padding_id is not None:
            real = ops.cast(ops.not_equal(token_ids, self.padding_id), "int32")
            positions = ops.cumsum(real, axis=1) * real + self.padding_id
        x = self.token(token_ids) + self.position(positions)
        if self.segment is not None:
            x = x + self.segment(ops.zeros_like(token_ids) if segment_ids is None else segment_ids)
        x = tap("embedded", x, "b t u")
        x = drop(self.drop, tap("embedding_norm", self.embedding_norm(x), "b t u"), "b t u", training)
        if self.embedding_project is not None:
            x = tap("embedding_projected", self.embedding_project(x), "b t c")

        keys = None if padding_mask is None else padding_mask[:, None, None, :]
        for i in range(self.num_layers):
            if self.layer is None:
                x = self.layers[i](x, attention_mask=keys, training=training)
            else:
                with scope(f"layers.{i}"):
                    x = self.layer(x, attention_mask=keys, training=training)
            x = tap(f"layer_{i}", x, "b t c")

        if self.pool is not None:
            # cast back: Keras on JAX gives float32 for float64 here
            pooled = tap("pooler", ops.cast(ops.tanh(self.pool(x[:, 0])), x.dtype), "b c")
            if self.pooling == "pooler":
                return pooled
        return x if self.pooling == "none" else tap("mean", self.mean(x, padding_mask), "b c")

    def mean(self, x: Any, padding_mask: Any) -> Any:
        real = ops.ones_like(x[..., 0]) if padding_mask is None else ops.cast(padding_mask, x.dtype)
        total = ops.sum(x * real[..., None], axis=1)
        return total / ops.maximum(ops.sum(real, axis=1), 1.0)[:, None]
