"""Stack of transformer layers for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.block import Block
from attn_ref.blocks.transformer_stack import TransformerStack as Reference
from attn_ref.kv_cache import past, seen
from attn_ref.tap import tap
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror, mirrored


@keras.saving.register_keras_serializable("attn_ref")
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = block = Reference.from_options(locals())
        self.position_offset, self.crosses = position_offset, block.cross_attention is not None
        policy, rows = self.dtype_policy, position_offset + (max_length or 0)
        self.position = keras.layers.Embedding(rows, width, dtype=policy) if max_length else None
        self.position_bias: Any = mirrored(block.position_bias, policy)
        self.embedding_norm: Any = mirrored(block.embedding_norm, policy)
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        self.layers = [mirrored(layer, policy) for layer in block.layers]
        self.final_norm: Any = mirrored(block.final_norm, policy)

    def build(self, input_shape: Any) -> None:
        for part in (self.position, self.position_bias, self.embedding_norm, *self.layers, self.final_norm):
            if part is not None:
                part.build(None)
        self.built = True

    def call(
        self, x: Any, memory: Any = None, padding_mask: Any = None, memory_mask: Any = None,
        training: bool | None = None,
    ) -> Any:  # fmt: skip
        self.check(x=x, memory=memory, padding_mask=padding_mask, memory_mask=memory_mask)
        before = past()
        positions = ops.arange(before + ops.shape(x)[1])
        if self.position is not None:
            x = x + self.position(positions[before:] + self.position_offset)
        x = tap("embedded", x, "b t c")
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = drop(self.drop, x, "b t c", training)

        real = seen(padding_mask)
        given: dict[str, Any] = {"attention_mask": None if real is None else real[:, None, None, :]}
        if self.position_bias is not None:
            given["bias"] = self.position_bias(positions[before:], positions)[None]
        if self.crosses:
            given["memory"] = memory
            given["memory_mask"] = None if memory_mask is None else memory_mask[:, None, None, :]
        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x, **given, training=training), "b t c")
        return x if self.final_norm is None else self.final_norm(x)
