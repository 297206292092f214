"""Spatial self-attention (SAGAN) for Keras, channels last."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.spatial_self_attention import SpatialSelfAttention as Reference
from attn_ref.tap import tap
from attn_ref_keras.conv import Conv2D
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class SpatialSelfAttention(Mirror):
    """Mirror of ``attn_ref.SpatialSelfAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        head_width: int | None = None,
        value_head_width: int | None = None,
        sub_sample: bool = False,
        project: bool = False,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channels, self.value_width, self.sub_sample = channels, value_head_width or channels, sub_sample
        same: dict[str, Any] = {"use_bias": use_bias, "dtype": self.dtype_policy}
        self.query = Conv2D(head_width or max(1, channels // 8), 1, **same)
        self.key = Conv2D(head_width or max(1, channels // 8), 1, **same)
        self.value = Conv2D(self.value_width, 1, **same)
        self.project = Conv2D(channels, 1, **same) if project else None

    def build(self, input_shape: Any) -> None:
        self.gate = self.add_weight(shape=(1,), initializer="zeros", name="gate")
        for layer in (self.query, self.key, self.value):
            layer.build((None, None, None, self.channels))
        if self.project is not None:
            self.project.build((None, None, None, self.value_width))
        self.built = True

    def call(self, x: Any) -> Any:
        self.check(x=x)
        b, height, width, _ = ops.shape(x)
        q = tap("query", self.pixels(self.query(x)), "b t d")
        k = tap("key", self.pixels(self.pool(self.key(x))), "b s d")
        v = tap("value", self.pixels(self.pool(self.value(x))), "b s e")
        scores = tap("scores", ops.matmul(q, ops.swapaxes(k, 1, 2)), "b t s")
        weights = tap("weights", ops.softmax(scores, axis=-1), "b t s")
        context = ops.matmul(weights, v)
        y = tap("context", ops.reshape(context, (b, height, width, self.value_width)), "b H W c")
        if self.project is not None:
            y = tap("projected", self.project(y), "b H W c")
        return self.gate * y + x

    def pool(self, x: Any) -> Any:
        return ops.max_pool(x, 2, 2, data_format="channels_last") if self.sub_sample else x

    def pixels(self, x: Any) -> Any:
        """(b, H, W, c) → (b, H·W, c)."""
        b, height, width, _ = ops.shape(x)
        return ops.reshape(x, (b, height * width, x.shape[-1]))
