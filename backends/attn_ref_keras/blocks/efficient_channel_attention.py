"""Efficient channel attention for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.efficient_channel_attention import EfficientChannelAttention as Reference
from attn_ref.tap import tap
from attn_ref_keras.conv import Conv1D
from attn_ref_keras.mirror import Mirror
from attn_ref_keras.spatial import mean_over_space


@keras.saving.register_keras_serializable("attn_ref")
class EfficientChannelAttention(Mirror):
    """Mirror of ``attn_ref.EfficientChannelAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        kernel_size: int = 3,
        circular: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.circular, self.side = circular, kernel_size // 2
        self.conv = Conv1D(1, kernel_size, use_bias=False, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        self.conv.build((None, None, 1))
        self.built = True

    def around(self, line: Any) -> Any:
        """What stands beyond the first and the last channel, and the channels between."""
        if self.circular and self.side:
            return ops.concatenate([line[:, -self.side :], line, line[:, : self.side]], axis=1)
        return ops.pad(line, ((0, 0), (self.side, self.side), (0, 0)))

    def call(self, x: Any) -> Any:
        self.check(x=x)
        squeezed = tap("squeezed", mean_over_space(x), "b c")
        mixed = tap("mixed", self.conv(self.around(squeezed[..., None]))[..., 0], "b c")
        gate = tap("gate", ops.sigmoid(mixed), "b c")
        return tap("scaled", x * gate[:, None, None, :], "b H W c")
