"""Gated feed-forward network for Keras."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.gated_feed_forward import GatedFeedForward as Reference
from attn_ref.tap import tap
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class GatedFeedForward(Mirror):
    """Mirror of ``attn_ref.GatedFeedForward``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        hidden_width: int,
        activation: str = "silu",
        use_bias: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.activation, self.widths = activation, (width, width, hidden_width)
        self.gate = keras.layers.Dense(hidden_width, use_bias=use_bias, dtype=self.dtype_policy)
        self.expand = keras.layers.Dense(hidden_width, use_bias=use_bias, dtype=self.dtype_policy)
        self.reduce = keras.layers.Dense(width, use_bias=use_bias, dtype=self.dtype_policy)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        for layer, width in zip((self.gate, self.expand, self.reduce), self.widths, strict=True):
            layer.build((None, None, width))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        active = tap("active", self.activate(tap("gate", self.gate(x), "b t f")), "b t f")
        gated = tap("gated", active * tap("hidden", self.expand(x), "b t f"), "b t f")
        return tap("reduced", self.reduce(drop(self.drop, gated, "b t f", training)), "b t c")

    def activate(self, x: Any) -> Any:
        # not ops.gelu: on TensorFlow its constants pass through float32, which is 5e-9 off in float64
        if self.activation == "silu":
            return ops.silu(x)
        if self.activation == "sigmoid":
            return ops.sigmoid(x)
        if self.activation == "relu":
            return ops.relu(x)
        if self.activation == "gelu_tanh":  # (1 + tanh(z)) / 2 = sigmoid(2z), which every engine has in float64
            return x * ops.sigmoid(math.sqrt(8.0 / math.pi) * (x + 0.044715 * x * x * x))
        return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))
