"""Spatial attention of CBAM for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.spatial_attention import SpatialAttention as Reference
from attn_ref.tap import tap
from attn_ref_keras.batch_norm import BatchNorm
from attn_ref_keras.batch_norm import batch_norm as run_norm
from attn_ref_keras.conv import Conv2D
from attn_ref_keras.mirror import Mirror
from attn_ref_keras.spatial import largest


@keras.saving.register_keras_serializable("attn_ref")
class SpatialAttention(Mirror):
    """Mirror of ``attn_ref.SpatialAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        kernel_size: int = 7,
        batch_norm: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        policy = self.dtype_policy
        # the size is odd and the stride 1, so "same" pads size // 2 on every side
        self.conv = Conv2D(1, kernel_size, padding="same", use_bias=False, dtype=policy)
        norm = {"epsilon": eps, "momentum": momentum, "unbiased": unbiased, "dtype": policy}
        self.norm = BatchNorm(**norm) if batch_norm else None

    def build(self, input_shape: Any) -> None:
        self.conv.build((None, None, None, 2))
        if self.norm is not None:
            self.norm.build((None, None, None, 1))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        mean = ops.sum(x, axis=-1, keepdims=True) / x.shape[-1]  # on JAX ops.mean computes float64 in float32
        pooled = ops.concatenate([mean, largest(x, axis=-1, keepdims=True)], axis=-1)
        pooled = tap("pooled", pooled, "b H W p")
        gate = tap("convolved", self.conv(pooled), "b H W u")
        if self.norm is not None:
            gate = tap("normed", run_norm(self.norm, gate, "norm", training), "b H W u")
        gate = tap("gate", ops.sigmoid(gate), "b H W u")
        return tap("scaled", x * gate, "b H W c")
