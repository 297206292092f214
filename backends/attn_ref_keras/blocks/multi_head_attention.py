"""Multi-head attention for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.multi_head_attention import MultiHeadAttention as Reference
from attn_ref.kv_cache import kept
from attn_ref.tap import tap
from attn_ref_keras.blocks.rotary_embedding import RotaryEmbedding
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
        qk_norm: str | None = None,
        qk_norm_eps: float = 1e-6,
        rotary: str | None = None,
        rotary_width: int | None = None,
        rotary_base: float = 10000.0,
        rotary_scaling: float = 1.0,
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
        self.num_sinks, self.sinks, self.d = num_heads if use_sinks else 0, None, d
        policy = self.dtype_policy
        self.query = keras.layers.Dense(num_heads * d, use_bias=use_bias, dtype=policy)
        self.key = keras.layers.Dense(self.num_kv_heads * d, use_bias=use_bias, dtype=policy)
        self.value = keras.layers.Dense(self.num_kv_heads * e, use_bias=use_bias, dtype=policy)
        self.project = keras.layers.Dense(output_width or width, use_bias=output_bias, dtype=policy)
        norms = {"layer": keras.layers.LayerNormalization, "rms": keras.layers.RMSNormalization}
        self.query_norm = norms[qk_norm](epsilon=qk_norm_eps, dtype=policy) if qk_norm else None
        self.key_norm = norms[qk_norm](epsilon=qk_norm_eps, dtype=policy) if qk_norm else None
        turn: dict[str, Any] = {
            "width": d,
            "rotary_width": rotary_width,
            "base": rotary_base,
            "scaling": rotary_scaling,
        }
        self.query_rotary = RotaryEmbedding(pairing=rotary, dtype=policy, **turn) if rotary else None
        self.key_rotary = RotaryEmbedding(pairing=rotary, dtype=policy, **turn) if rotary else None
        self.attention = ScaledDotProductAttention(**self.block.attention.fields(), dtype=policy)

    def build(self, input_shape: Any) -> None:
        for layer, width in zip((self.query, self.key, self.value, self.project), self.widths, strict=True):
            layer.build((None, None, width))
        for layer in (self.query_norm, self.key_norm):
            if layer is not None:
                layer.build((None, None, None, self.d))
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
        q = self.split(self.query(query), self.num_heads)
        k = self.split(self.key(key), self.num_kv_heads)
        v = self.split(self.value(value), self.num_kv_heads)
        q, k, v = tap("query", q, "b h t d"), tap("key", k, "b g s d"), tap("value", v, "b g s e")
        k, v = kept(k, v) if own else (k, v)
        if self.query_norm is not None and self.key_norm is not None:
            q = tap("normed_query", self.query_norm(q), "b h t d")
            k = tap("normed_key", self.key_norm(k), "b g s d")
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

    def split(self, x: Any, heads: int) -> Any:
        b, t, _ = ops.shape(x)
        return ops.swapaxes(ops.reshape(x, (b, t, heads, x.shape[-1] // heads)), 1, 2)

    def merge(self, x: Any) -> Any:
        b, _, t, _ = ops.shape(x)
        return ops.reshape(ops.swapaxes(x, 1, 2), (b, t, self.widths[-1]))
