"""Attention pooling for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.attention_pooling import AttentionPooling as Reference
from attn_ref.tap import tap
from attn_ref_keras.blocks.feed_forward import FeedForward
from attn_ref_keras.blocks.multi_head_attention import MultiHeadAttention
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class AttentionPooling(Mirror):
    """Mirror of ``attn_ref.AttentionPooling``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        hidden_width: int,
        activation: str = "relu",
        eps: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        policy, self.width, self.probe = self.dtype_policy, width, None
        self.attention = MultiHeadAttention(width=width, num_heads=num_heads, dtype=policy)
        self.norm = keras.layers.LayerNormalization(epsilon=eps, dtype=policy)
        self.feed_forward = FeedForward(width=width, hidden_width=hidden_width, activation=activation, dtype=policy)

    def build(self, input_shape: Any) -> None:
        self.probe = self.add_weight(shape=(1, self.width), initializer="zeros", name="probe")
        for layer in (self.attention, self.norm, self.feed_forward):
            layer.build((None, None, self.width))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        probe = ops.broadcast_to(self.probe, (ops.shape(x)[0], 1, self.width))
        attended = tap("attended", self.attention(probe, x, training=training), "b u c")
        normed = tap("normed", self.norm(attended), "b u c")
        fed = tap("fed", attended + self.feed_forward(normed, training=training), "b u c")
        return fed[:, 0]
