"""Convolutional block attention module for Keras."""

from __future__ import annotations

from typing import Any

import keras

from attn_ref.blocks.cbam import CBAM as Reference
from attn_ref_keras.blocks.channel_attention import ChannelAttention
from attn_ref_keras.blocks.spatial_attention import SpatialAttention
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class CBAM(Mirror):
    """Mirror of ``attn_ref.CBAM``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        reduction: int = 16,
        reduced_width: int | None = None,
        use_bias: bool = False,
        kernel_size: int = 7,
        batch_norm: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channel_attention = ChannelAttention(
            channels=channels,
            reduction=reduction,
            reduced_width=reduced_width,
            use_bias=use_bias,
            dtype=self.dtype_policy,
        )
        self.spatial_attention = SpatialAttention(
            kernel_size=kernel_size,
            batch_norm=batch_norm,
            eps=eps,
            momentum=momentum,
            unbiased=unbiased,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: Any) -> None:
        self.channel_attention.build(None)
        self.spatial_attention.build(None)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        return self.spatial_attention(self.channel_attention(x), training=training)
