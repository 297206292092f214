"""Multi-head attention for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.block import Block
from attn_ref.blocks.multi_head_attention import MultiHeadAttention as Reference
from attn_ref.kv_cache import kept
from attn_ref.tap import tap
from attn_ref_keras.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref_keras.mirror import Mirror, mirrored


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
        key_bias: bool = True,
        output_bias: bool = True,
        qk_norm: str | None = None,
        qk_norm_over: str = "head",
        qk_norm_eps: float = 1e-6,
        rotary: str | None = None,
        rotary_width: int | None = None,
        rotary_base: float = 10000.0,
        rotary_scaling: float = 1.0,
        rotation: Block | None = None,
        clip: float | None = None,
        scale: float | str | None = "head",
        softcap: float | None = None,
        causal: str | None = None,
        window_left: int | None = None,
        window_right: int | None = None,
        use_sinks: bool = False,
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
        self.num_sinks, self.sinks = num_heads if use_sinks else 0, None
        policy = self.dtype_policy
        self.query = keras.layers.Dense(num_heads * d, use_bias=use_bias, dtype=policy)
        self.key = keras.layers.Dense(self.num_kv_heads * d, use_bias=use_bias and key_bias, dtype=policy)
        self.value = keras.layers.Dense(self.num_kv_heads * e, use_bias=use_bias, dtype=policy)
        self.project = keras.layers.Dense(output_width or width, use_bias=output_bias, dtype=policy)
        self.clip, self.qk_norm, self.over_all = clip, qk_norm, qk_norm_over == "all"
        self.norm_widths = (num_heads * d, self.num_kv_heads * d) if self.over_all else (d, d)
        kind = keras.layers.LayerNormalization if qk_norm == "layer" else keras.layers.RMSNormalization
        self.query_norm = kind(epsilon=qk_norm_eps, dtype=policy) if qk_norm else None
        self.key_norm = kind(epsilon=qk_norm_eps, dtype=policy) if qk_norm else None
        self.query_rotary: Any = mirrored(self.block.turn, policy)
        self.key_rotary: Any = mirrored(self.block.turn, policy)
        self.attention = ScaledDotProductAttention(**self.block.attention.fields(), dtype=policy)

    def build(self, input_shape: Any) -> None:
        for layer, width in zip((self.query, self.key, self.value, self.project), self.widths, strict=True):
            layer.build((None, None, width))
        for layer, width in zip((self.query_norm, self.key_norm), self.norm_widths, strict=True):
            if layer is not None:
                layer.build((None, None, width))
                if self.qk_norm == "rms_zero_centered":
                    layer.scale.assign(ops.zeros((width,), layer.scale.dtype))
        for layer in (self.query_rotary, self.key_rotary, self.attention):
            if layer is not None:
                layer.build(None)
        if self.num_sinks:
            self.sinks = self.add_weight(shape=(self.num_sinks,), initializer="zeros", name="sinks")
        self.built = True

    def call(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        attention_mask: Any = None,
        bias: Any = None,
        query_offset: Any = None,
        key_lengths: Any = None,
        training: bool | None = None,
    ) -> Any:
        self.check(
            query=query, key=key, value=value, attention_mask=attention_mask, bias=bias,
            query_offset=query_offset, key_lengths=key_lengths,
        )  # fmt: skip
        own = key is None
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = self.query(query), self.key(key), self.value(value)
        if self.clip is not None:
            q, k, v = (ops.clip(x, -self.clip, self.clip) for x in (q, k, v))
        q = self.split(q, self.num_heads)
        k, v = self.split(k, self.num_kv_heads), self.split(v, self.num_kv_heads)
        q, k, v = tap("query", q, "b h t d"), tap("key", k, "b g s d"), tap("value", v, "b g s e")
        k, v = kept(k, v) if own else (k, v)
        if self.query_norm is not None and self.key_norm is not None:
            q = tap("normed_query", self.normed(self.query_norm, q), "b h t d")
            k = tap("normed_key", self.normed(self.key_norm, k), "b g s d")
        if self.query_rotary is not None and self.key_rotary is not None:
            t, s = ops.shape(q)[2], ops.shape(k)[2]
            q = self.query_rotary(q, self.attention.positions(t, s, query_offset, key_lengths))
            k = self.key_rotary(k)

        context = self.attention(
            q, k, v, attention_mask=attention_mask, bias=bias, sinks=self.sinks, query_offset=query_offset,
            key_lengths=key_lengths, training=training,
        )  # fmt: skip
        merged = tap("merged", self.merge(context), "b t c")
        return tap("projected", self.project(merged), "b t c")

    def normed(self, norm: Any, x: Any) -> Any:
        heads, d = x.shape[1], x.shape[-1]
        if self.over_all:
            b, _, t, _ = ops.shape(x)
            x = ops.reshape(ops.swapaxes(x, 1, 2), (b, t, heads * d))
        if self.qk_norm == "rms_zero_centered":
            x = ops.rms_normalization(x, ops.cast(norm.scale, x.dtype) + 1, axis=-1, epsilon=norm.epsilon)
        else:
            x = norm(x)
        return self.split(x, heads) if self.over_all else x

    def split(self, x: Any, heads: int) -> Any:
        b, t, _ = ops.shape(x)
        return ops.swapaxes(ops.reshape(x, (b, t, heads, x.shape[-1] // heads)), 1, 2)

    def merge(self, x: Any) -> Any:
        b, _, t, _ = ops.shape(x)
        return ops.reshape(ops.swapaxes(x, 1, 2), (b, t, self.widths[-1]))
