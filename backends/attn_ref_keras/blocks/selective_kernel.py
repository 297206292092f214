"""Selective kernel for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.selective_kernel import SelectiveKernel as Reference
from attn_ref.tap import tap
from attn_ref_keras.batch_norm import BatchNorm, batch_norm
from attn_ref_keras.conv import Conv2D
from attn_ref_keras.mirror import Mirror
from attn_ref_keras.spatial import mean_over_space, padded


@keras.saving.register_keras_serializable("attn_ref")
class SelectiveKernel(Mirror):
    """Mirror of ``attn_ref.SelectiveKernel``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        branches: int = 2,
        groups: int = 32,
        reduction: int = 16,
        min_width: int = 32,
        stride: int = 1,
        use_bias: bool = False,
        bottleneck_norm: bool = True,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channels = channels
        policy = self.dtype_policy
        norm = {"epsilon": eps, "momentum": momentum, "unbiased": unbiased, "dtype": policy}
        self.convs: list[Any] = [
            Conv2D(channels, 3 + 2 * m, strides=stride, padding="valid", groups=groups, use_bias=use_bias, dtype=policy)
            for m in range(branches)
        ]
        self.norms = [BatchNorm(**norm) for _ in range(branches)]
        self.reduce = keras.layers.Dense(max(channels // reduction, min_width), dtype=policy)
        self.reduce_norm = BatchNorm(**norm) if bottleneck_norm else None
        self.selects = [keras.layers.Dense(channels, dtype=policy) for _ in range(branches)]

    def build(self, input_shape: Any) -> None:
        for layer in (*self.convs, *self.norms):
            layer.build((None, None, None, self.channels))
        self.reduce.build((None, self.channels))
        for layer in (*((self.reduce_norm,) if self.reduce_norm is not None else ()), *self.selects):
            layer.build((None, self.reduce.units))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        branches = []
        for m, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = tap(f"convolved.{m}", conv(padded(x, 1 + m)), "b P Q c")
            normed = tap(f"normed.{m}", batch_norm(norm, y, f"norms.{m}", training), "b P Q c")
            branches.append(tap(f"features.{m}", ops.relu(normed), "b P Q c"))
        features = ops.stack(branches, axis=1)
        fused = tap("fused", ops.sum(features, axis=1), "b P Q c")
        squeezed = tap("squeezed", mean_over_space(fused), "b c")
        reduced = tap("reduced", self.reduce(squeezed), "b d")
        if self.reduce_norm is not None:
            normed = tap("reduced_normed", batch_norm(self.reduce_norm, reduced, "reduce_norm", training), "b d")
            reduced = tap("reduced_active", ops.relu(normed), "b d")
        scores = tap("scores", ops.stack([select(reduced) for select in self.selects], axis=1), "b m c")
        weights = tap("weights", ops.softmax(scores, axis=1), "b m c")
        return tap("selected", ops.sum(weights[:, :, None, None, :] * features, axis=1), "b P Q c")
