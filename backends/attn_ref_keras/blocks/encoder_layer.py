"""Transformer encoder layer for Keras."""

from __future__ import annotations

from typing import Any

import keras

from attn_ref.blocks.encoder_layer import EncoderLayer as Reference
from attn_ref.tap import tap
from attn_ref_keras.blocks.feed_forward import FeedForward
from attn_ref_keras.blocks.multi_head_attention import MultiHeadAttention
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class EncoderLayer(Mirror):
    """Mirror of ``attn_ref.EncoderLayer``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        hidden_width: int,
        activation: str = "relu",
        norm_first: bool | None = False,
        eps: float = 1e-5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.norm_first, self.width = norm_first, width
        policy = self.dtype_policy
        self.attention = MultiHeadAttention(width=width, num_heads=num_heads, dropout=attention_dropout, dtype=policy)
        if norm_first is not None:
            self.attention_norm = keras.layers.LayerNormalization(epsilon=eps, dtype=policy)
        self.feed_forward = FeedForward(
            width=width, hidden_width=hidden_width, activation=activation, dropout=dropout, dtype=policy
        )
        if norm_first is not None:
            self.feed_forward_norm = keras.layers.LayerNormalization(epsilon=eps, dtype=policy)
        self.drop = keras.layers.Dropout(dropout, dtype=policy)

    def build(self, input_shape: Any) -> None:
        norms = () if self.norm_first is None else (self.attention_norm, self.feed_forward_norm)
        for layer in (self.attention, self.feed_forward, *norms):
            layer.build((None, None, self.width))
        self.built = True

    def call(self, x: Any, attention_mask: Any = None, bias: Any = None, training: bool | None = None) -> Any:
        self.check(x=x, attention_mask=attention_mask, bias=bias)
        if self.norm_first:
            normed = tap("attention_norm", self.attention_norm(x), "b t c")
            x = tap("attended", x + self.attend(normed, attention_mask, bias, training), "b t c")
            normed = tap("feed_forward_norm", self.feed_forward_norm(x), "b t c")
            return tap("fed", x + self.feed(normed, training), "b t c")
        x = tap("attended", x + self.attend(x, attention_mask, bias, training), "b t c")
        if self.norm_first is None:
            return tap("fed", x + self.feed(x, training), "b t c")
        x = tap("attention_norm", self.attention_norm(x), "b t c")
        x = tap("fed", x + self.feed(x, training), "b t c")
        return tap("feed_forward_norm", self.feed_forward_norm(x), "b t c")

    def attend(self, x: Any, attention_mask: Any, bias: Any, training: bool | None) -> Any:
        y = self.attention(x, attention_mask=attention_mask, bias=bias, training=training)
        return drop(self.drop, y, "b t c", training, "keep_attention")

    def feed(self, x: Any, training: bool | None) -> Any:
        return drop(self.drop, self.feed_forward(x, training=training), "b t c", training, "keep_feed_forward")
