"""Stem of a speech encoder for Keras."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.conv_stem import ConvStem as Reference
from attn_ref.tap import tap
from attn_ref_keras.conv import Conv1D
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class ConvStem(Mirror):
    """Mirror of ``attn_ref.ConvStem``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        kernel_size: int = 3,
        stride: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channels, self.width, self.side = channels, width, kernel_size // 2
        self.first = Conv1D(width, kernel_size, dtype=self.dtype_policy)
        self.second = Conv1D(width, kernel_size, strides=stride, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        self.first.build((None, None, self.channels))
        self.second.build((None, None, self.width))
        self.built = True

    def call(self, x: Any) -> Any:
        self.check(x=x)
        x = tap("first", self.first(self.around(x)), "b N c")
        x = tap("first_active", self.gelu(x), "b N c")
        return tap("second_active", self.gelu(tap("second", self.second(self.around(x)), "b t c")), "b t c")

    def around(self, x: Any) -> Any:
        """The frames with zeros before and behind them."""
        return ops.pad(x, ((0, 0), (self.side, self.side), (0, 0)))

    def gelu(self, x: Any) -> Any:
        return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))  # see FeedForward
