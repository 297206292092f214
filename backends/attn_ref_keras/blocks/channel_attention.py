"""Channel attention of CBAM for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.channel_attention import ChannelAttention as Reference
from attn_ref.tap import scope, tap
from attn_ref_keras.mirror import Mirror
from attn_ref_keras.spatial import largest, mean_over_space


@keras.saving.register_keras_serializable("attn_ref")
class ChannelAttention(Mirror):
    """Mirror of ``attn_ref.ChannelAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        reduction: int = 16,
        reduced_width: int | None = None,
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        width = reduced_width or channels // reduction
        self.reduce = keras.layers.Dense(width, use_bias=use_bias, dtype=self.dtype_policy)
        self.expand = keras.layers.Dense(channels, use_bias=use_bias, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        self.reduce.build((None, self.expand.units))
        self.expand.build((None, self.reduce.units))
        self.built = True

    def call(self, x: Any) -> Any:
        self.check(x=x)
        average = self.shared("average", mean_over_space(x))
        maximum = self.shared("maximum", largest(x, axis=(1, 2)))
        gate = tap("gate", ops.sigmoid(average + maximum), "b c")
        return tap("scaled", x * gate[:, None, None, :], "b H W c")

    def shared(self, name: str, pooled: Any) -> Any:
        with scope(name):
            pooled = tap("pooled", pooled, "b c")
            reduced = tap("reduced", self.reduce(pooled), "b r")
            active = tap("active", ops.relu(reduced), "b r")
            return tap("expanded", self.expand(active), "b c")
