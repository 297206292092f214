"""Scaled dot-product attention for Keras: the fused call, and the same step by step while taps are listened to."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention as Reference
from attn_ref.tap import probing, tap
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror

#: taken whenever no tap is listened to, no weights are dropped, and see ``can_fuse``
FUSED = "keras.ops.dot_product_attention"


@keras.saving.register_keras_serializable("attn_ref")
class ScaledDotProductAttention(Mirror):
    """Mirror of ``attn_ref.ScaledDotProductAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        scale: float | str | None = "head",
        softcap: float | None = None,
        causal: str | None = None,
        window_left: int | None = None,
        window_right: int | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.scale, self.softcap, self.causal = scale, softcap, causal
        self.window_left, self.window_right = window_left, window_right
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        self.built = True

    def factor(self, heads: int, width: int) -> float:
        if self.scale == "head":
            return width**-0.5
        if self.scale == "total":
            return (heads * width) ** -0.5
        return 1.0 if self.scale is None else float(self.scale)

    def call(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        bias: Any = None,
        sinks: Any = None,
        query_offset: Any = None,
        key_lengths: Any = None,
        training: bool | None = None,
    ) -> Any:
        self.check(
            query=query, key=key, value=value, attention_mask=attention_mask, bias=bias, sinks=sinks,
            query_offset=query_offset, key_lengths=key_lengths,
        )  # fmt: skip
        query = query * self.factor(query.shape[1], query.shape[-1])
        keep = self.rank_four(self.keep(query, key, attention_mask, query_offset, key_lengths))
        if probing() or not self.can_fuse(query, value, keep, bias, sinks, training):
            return self.steps(query, key, value, keep, bias, sinks, training)
        groups = query.shape[1] // key.shape[1]
        if groups > 1:  # on TensorFlow Keras before 3.15 has no grouped heads, and 3.15 none if there is one key head
            key, value = (ops.repeat(x, groups, axis=1) for x in (key, value))
        q, k, v = (ops.swapaxes(x, 1, 2) for x in (query, key, value))
        bias = self.rank_four(bias)
        # q is scaled already: Keras would pass a scale through float32
        context = ops.swapaxes(ops.dot_product_attention(q, k, v, bias=bias, mask=keep, scale=1.0), 1, 2)
        if keep is None:
            return context
        return ops.where(ops.any(keep, axis=-1, keepdims=True), context, 0.0)  # Keras: the mean of all values

    def can_fuse(self, query: Any, value: Any, keep: Any, bias: Any, sinks: Any, training: bool | None) -> bool:
        """Can Keras' fused call do it? It drops no weights, knows neither softcap nor sinks, and masks with -2.4e38, so
        that a bias below that is kept; on JAX it computes float64 in float32 and refuses unequal widths, and on a CPU
        it is slower there than step by step."""
        plain = self.softcap is None and sinks is None and not (self.drop.rate and training)
        if keras.backend.backend() == "jax":
            import jax

            same_width = query.shape[-1] == value.shape[-1]
            if jax.default_backend() == "cpu" or self.compute_dtype == "float64" or not same_width:
                return False
        return plain and (keep is None or bias is None)

    def steps(self, query: Any, key: Any, value: Any, keep: Any, bias: Any, sinks: Any, training: bool | None) -> Any:
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = ops.repeat(key, groups, axis=1), ops.repeat(value, groups, axis=1)
        scores = tap("scores", ops.matmul(query, ops.swapaxes(key, -1, -2)), "b h t s")
        if self.softcap is not None:
            # cast back: Keras on JAX gives float32 for float64 here
            scores = tap("capped", self.softcap * ops.cast(ops.tanh(scores / self.softcap), scores.dtype), "b h t s")
        if bias is not None:
            scores = tap("biased", scores + bias, "b h t s")
        if keep is not None:
            scores = tap("masked", ops.where(keep, scores, -math.inf), "b h t s")
        weights = tap("weights", self.softmax(scores, keep is not None, sinks), "b h t s")
        weights = drop(self.drop, weights, "b h t s", training)
        return tap("context", ops.matmul(weights, value), "b h t e")

    def softmax(self, scores: Any, masked: bool, sinks: Any) -> Any:
        if sinks is not None:  # one more key, which is never hidden and whose weight goes nowhere
            column = ops.broadcast_to(sinks[:, None, None], (*ops.shape(scores)[:-1], 1))
            return ops.softmax(ops.concatenate([scores, column], axis=-1), axis=-1)[..., :-1]
        if not masked:
            return ops.softmax(scores, axis=-1)
        # a row of −∞ alone goes through softmax as zeros, for finite gradients, and is zeroed after it
        nothing = ops.all(ops.equal(scores, -math.inf), axis=-1, keepdims=True)
        return ops.where(nothing, 0.0, ops.softmax(ops.where(nothing, 0.0, scores), axis=-1))

    def positions(self, t: Any, s: Any, query_offset: Any, key_lengths: Any) -> Any:
        """Where each query stands among the keys: (1, t) or (b, t)."""
        positions = ops.arange(t)[None]
        if self.causal == "bottom_right":
            positions = positions + ((s if key_lengths is None else key_lengths[:, None]) - t)
        return positions if query_offset is None else positions + query_offset[:, None]

    def keep(self, query: Any, key: Any, attention_mask: Any, query_offset: Any, key_lengths: Any) -> Any:
        if self.causal is None and self.window_left is None and self.window_right is None and key_lengths is None:
            return attention_mask
        t, s = ops.shape(query)[2], ops.shape(key)[2]
        at = ops.arange(s)
        ahead = (at - self.positions(t, s, query_offset, key_lengths)[..., None])[:, None]
        rules = [] if attention_mask is None else [attention_mask]
        if self.causal is not None:
            rules.append(ahead <= 0)
        if self.window_left is not None:
            rules.append(ahead >= -self.window_left)
        if self.window_right is not None:
            rules.append(ahead <= self.window_right)
        if key_lengths is not None:
            rules.append(at < key_lengths[:, None, None, None])
        return reduce(ops.logical_and, rules) if rules else None

    def rank_four(self, x: Any) -> Any:
        return None if x is None else ops.reshape(x, (1,) * (4 - len(x.shape)) + tuple(ops.shape(x)))
