"""Multi-head attention for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.multi_head_attention import MultiHeadAttention as Reference
from attn_ref.tap import tap
from attn_ref_keras.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class MultiHeadAttention(Mirror):
    """Mirror of ``attn_ref.MultiHeadAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        key_width: int | None = None,
        value_width: int | None = None,
        output_width: int | None = None,
        head_width: int | None = None,
        value_head_width: int | None = None,
        use_bias: bool = True,
        output_bias: bool = True,
        scale: float | str | None = "head",
        causal: str | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads or num_heads
        d = head_width or width // num_heads
        e = value_head_width or d
        key_width = key_width or width
        self.widths = (width, key_width, value_width or key_width, num_heads * e)
        policy = self.dtype_policy
        self.query = keras.layers.Dense(num_heads * d, use_bias=use_bias, dtype=policy)
        self.key = keras.layers.Dense(self.num_kv_heads * d, use_bias=use_bias, dtype=policy)
        self.value = keras.layers.Dense(self.num_kv_heads * e, use_bias=use_bias, dtype=policy)
        self.project = keras.layers.Dense(output_width or width, use_bias=output_bias, dtype=policy)
        self.attention = ScaledDotProductAttention(scale=scale, causal=causal, dropout=dropout, dtype=policy)

    def build(self, input_shape: Any) -> None:
        for layer, width in zip((self.query, self.key, self.value, self.project), self.widths, strict=True):
            layer.build((None, None, width))
        self.attention.build(None)
        self.built = True

    def call(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        attention_mask: Any = None,
        bias: Any = None,
        training: bool | None = None,
    ) -> Any:
        self.check(query=query, key=key, value=value, attention_mask=attention_mask, bias=bias)
        key = query if key is None else key
        value = key if value is None else value
        q = self.split(self.query(query), self.num_heads)
        k = self.split(self.key(key), self.num_kv_heads)
        v = self.split(self.value(value), self.num_kv_heads)
        q, k, v = tap("query", q, "b h t d"), tap("key", k, "b g s d"), tap("value", v, "b g s e")

        context = self.attention(q, k, v, attention_mask=attention_mask, bias=bias, training=training)
        merged = tap("merged", self.merge(context), "b t c")
        return tap("projected", self.project(merged), "b t c")

    def split(self, x: Any, heads: int) -> Any:
        b, t, _ = ops.shape(x)
        return ops.swapaxes(ops.reshape(x, (b, t, heads, x.shape[-1] // heads)), 1, 2)

    def merge(self, x: Any) -> Any:
        b, _, t, _ = ops.shape(x)
        return ops.reshape(ops.swapaxes(x, 1, 2), (b, t, self.widths[-1]))
