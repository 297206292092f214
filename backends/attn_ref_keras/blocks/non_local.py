"""Non-local block for Keras, channels last, in 1, 2 and 3 dimensions."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.non_local import NonLocal as Reference
from attn_ref.tap import tap
from attn_ref_keras.batch_norm import BatchNorm
from attn_ref_keras.batch_norm import batch_norm as normalise
from attn_ref_keras.conv import Conv1D, Conv2D, Conv3D
from attn_ref_keras.mirror import Mirror

CONVS: dict[int, Any] = {1: Conv1D, 2: Conv2D, 3: Conv3D}


@keras.saving.register_keras_serializable("attn_ref")
class NonLocal(Mirror):
    """Mirror of ``attn_ref.NonLocal``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        dimensions: int = 2,
        inner_width: int | None = None,
        pairing: str = "softmax",
        scale: float | str | None = None,
        sub_sample: bool = False,
        batch_norm: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channels, self.dimensions, self.pairing, self.sub_sample = channels, dimensions, pairing, sub_sample
        self.axes = f"b {' '.join('DHW'[3 - dimensions :])} c"
        self.inner = inner_width or max(1, channels // 2)
        named = {"input": channels**-0.5, "inner": self.inner**-0.5}
        self.factor = 1.0 if scale is None else named[scale] if isinstance(scale, str) else float(scale)
        policy = self.dtype_policy
        same: dict[str, Any] = {"use_bias": use_bias, "dtype": policy}
        self.theta = CONVS[dimensions](self.inner, 1, **same)
        self.phi = CONVS[dimensions](self.inner, 1, **same)
        self.g = CONVS[dimensions](self.inner, 1, **same)
        # a new block is the identity: the last of its layers starts at zero
        self.project = CONVS[dimensions](
            channels, 1, kernel_initializer="glorot_uniform" if batch_norm else "zeros", **same
        )
        norm: dict[str, Any] = {"epsilon": eps, "momentum": momentum, "unbiased": unbiased, "dtype": policy}
        self.norm = BatchNorm(gamma_initializer="zeros", **norm) if batch_norm else None

    def build(self, input_shape: Any) -> None:
        space = (None,) * (self.dimensions + 1)
        for layer in (self.theta, self.phi, self.g):
            layer.build((*space, self.channels))
        self.project.build((*space, self.inner))
        if self.norm is not None:
            self.norm.build((*space, self.channels))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        theta = tap("theta", self.positions(self.theta(x)), "b t d")
        phi = tap("phi", self.positions(self.pool(self.phi(x))), "b s d")
        g = tap("g", self.positions(self.pool(self.g(x))), "b s e")
        scores = tap("scores", ops.matmul(theta, ops.swapaxes(phi, 1, 2)) * self.factor, "b t s")
        weights = tap("weights", self.weigh(scores), "b t s")
        context = ops.matmul(weights, g)
        context = tap("context", ops.reshape(context, (*ops.shape(x)[:-1], self.inner)), self.axes)
        y = tap("projected", self.project(context), self.axes)
        if self.norm is not None:
            y = tap("normed", normalise(self.norm, y, "norm", training), self.axes)
        return y + x

    def weigh(self, scores: Any) -> Any:
        if self.pairing == "softmax":
            return ops.softmax(scores, axis=-1)
        return scores / ops.cast(ops.shape(scores)[-1], scores.dtype)

    def pool(self, x: Any) -> Any:
        """The largest of every window of 2 along H and W; D goes with the batch, which is never pooled."""
        if not self.sub_sample:
            return x
        if self.dimensions < 3:
            return ops.max_pool(x, 2, 2, data_format="channels_last")
        # not max_pool in 3 dimensions: TensorFlow has no float64 kernel of it on CPU
        b, depth, height, width, _ = ops.shape(x)
        frames = ops.reshape(x, (b * depth, height, width, self.inner))
        pooled = ops.max_pool(frames, 2, 2, data_format="channels_last")
        return ops.reshape(pooled, (b, depth, height // 2, width // 2, self.inner))

    def positions(self, x: Any) -> Any:
        """(b, space…, d) → (b, positions, d)."""
        shape = ops.shape(x)
        return ops.reshape(x, (shape[0], math.prod(shape[1:-1]), self.inner))
