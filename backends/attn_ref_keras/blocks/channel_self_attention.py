"""Channel self-attention for Keras, channels last."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.channel_self_attention import ChannelSelfAttention as Reference
from attn_ref.tap import tap
from attn_ref_keras.conv import Conv2D
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class ChannelSelfAttention(Mirror):
    """Mirror of ``attn_ref.ChannelSelfAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        inner_width: int | None = None,
        project_inputs: bool = True,
        project_shortcut: bool = True,
        invert: bool = False,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channels, self.inner, self.invert = channels, inner_width or channels, invert
        same: dict[str, Any] = {"use_bias": use_bias, "dtype": self.dtype_policy}

        def project(wanted: bool) -> Any:
            return Conv2D(self.inner, 1, **same) if wanted else None

        self.query, self.key, self.value = (project(project_inputs) for _ in range(3))
        self.shortcut = project(project_shortcut)

    def build(self, input_shape: Any) -> None:
        self.gate = self.add_weight(shape=(1,), initializer="zeros", name="gate")
        for layer in (self.query, self.key, self.value, self.shortcut):
            if layer is not None:
                layer.build((None, None, None, self.channels))
        self.built = True

    def call(self, x: Any) -> Any:
        self.check(x=x)
        b, height, width, _ = ops.shape(x)
        q = tap("query", self.pixels(self.query, x), "b n c")
        k = tap("key", self.pixels(self.key, x), "b n k")
        v = tap("value", self.pixels(self.value, x), "b n k")
        scores = tap("scores", ops.matmul(ops.swapaxes(q, 1, 2), k), "b c k")
        if self.invert:
            # without an initial value TensorFlow's max refuses a batch of none
            largest = ops.max(scores, axis=-1, keepdims=True, initial=-math.inf)
            scores = tap("inverted", largest - scores, "b c k")
        weights = tap("weights", ops.softmax(scores, axis=-1), "b c k")
        context = ops.matmul(v, ops.swapaxes(weights, 1, 2))
        y = self.gate * tap("context", ops.reshape(context, (b, height, width, self.inner)), "b H W c")
        return y + (x if self.shortcut is None else tap("shortcut", self.shortcut(x), "b H W c"))

    def pixels(self, conv: Any, x: Any) -> Any:
        """(b, H, W, c) → (b, H·W, c′), through the convolution if there is one."""
        b, height, width, _ = ops.shape(x)
        return ops.reshape(x if conv is None else conv(x), (b, height * width, self.inner))
