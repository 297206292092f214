"""Position-wise feed-forward network for Keras."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.feed_forward import FeedForward as Reference
from attn_ref.tap import tap
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class FeedForward(Mirror):
    """Mirror of ``attn_ref.FeedForward``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        hidden_width: int,
        activation: str = "relu",
        use_bias: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.activation = activation
        self.expand = keras.layers.Dense(hidden_width, use_bias=use_bias, dtype=self.dtype_policy)
        self.reduce = keras.layers.Dense(width, use_bias=use_bias, dtype=self.dtype_policy)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        self.expand.build((None, None, self.reduce.units))
        self.reduce.build((None, None, self.expand.units))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        hidden = tap("hidden", self.expand(x), "b t f")
        active = tap("active", self.activate(hidden), "b t f")
        active = drop(self.drop, active, "b t f", training)
        return tap("reduced", self.reduce(active), "b t c")

    def activate(self, x: Any) -> Any:
        # not ops.gelu: on TensorFlow its constants pass through float32, which is 5e-9 off in float64
        if self.activation == "relu":
            return ops.relu(x)
        if self.activation == "quick_gelu":
            return x * ops.sigmoid(1.702 * x)
        if self.activation == "gelu_tanh":  # (1 + tanh(z)) / 2 = sigmoid(2z), which every engine has in float64
            return x * ops.sigmoid(math.sqrt(8.0 / math.pi) * (x + 0.044715 * x * x * x))
        return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))
