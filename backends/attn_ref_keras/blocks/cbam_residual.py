"""A residual block with CBAM for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.cbam_residual import CBAMResidual as Reference
from attn_ref.tap import tap
from attn_ref_keras.batch_norm import BatchNorm, batch_norm
from attn_ref_keras.blocks.cbam import CBAM
from attn_ref_keras.conv import Conv2D
from attn_ref_keras.mirror import Mirror
from attn_ref_keras.spatial import max_pool, padded


@keras.saving.register_keras_serializable("attn_ref")
class CBAMResidual(Mirror):
    """Mirror of ``attn_ref.CBAMResidual``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        output_channels: int,
        kernel_size: int = 3,
        stride: int = 2,
        reduction: int = 4,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channels, self.kernel_size, self.stride = channels, kernel_size, stride
        policy = self.dtype_policy
        self.conv = Conv2D(output_channels, kernel_size, strides=stride, padding="valid", dtype=policy)
        self.norm = BatchNorm(epsilon=eps, momentum=momentum, unbiased=unbiased, dtype=policy)
        self.attention = CBAM(channels=output_channels, reduction=reduction, kernel_size=kernel_size, dtype=policy)
        self.shortcut = Conv2D(output_channels, 1, dtype=policy)

    def build(self, input_shape: Any) -> None:
        for layer in (self.conv, self.shortcut):
            layer.build((None, None, None, self.channels))
        for layer in (self.norm, self.attention):
            layer.build((None, None, None, self.conv.filters))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        y = tap("convolved", self.conv(padded(x, self.kernel_size // 2)), "b P Q f")
        normed = tap("normed", batch_norm(self.norm, y, "norm", training), "b P Q f")
        attended = self.attention(tap("active", ops.relu(normed), "b P Q f"), training=training)
        pooled = tap("pooled", max_pool(x, 3, self.stride, 1), "b P Q c")
        shortcut = tap("shortcut", self.shortcut(pooled), "b P Q f")
        added = tap("added", attended + shortcut, "b P Q f")
        return tap("rectified", ops.relu(added), "b P Q f")
