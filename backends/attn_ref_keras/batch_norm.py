"""Batch norm with both conventions for the running variance, and what it becomes as taps."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attn_ref.tap import probing, scope, tap


@keras.saving.register_keras_serializable("attn_ref")
class BatchNorm(keras.layers.BatchNormalization):
    """``keras.layers.BatchNormalization`` whose ``momentum`` is the share of the new value, 1 − Keras' own.

    ``unbiased``: the running variance follows the batch's unbiased variance, or the biased one, as Keras has it.
    """

    def __init__(self, *, momentum: float, unbiased: bool, **kwargs: Any) -> None:
        super().__init__(momentum=1.0 - momentum, **kwargs)
        self.share, self.unbiased = momentum, unbiased

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        count = math.prod(ops.shape(inputs)[:-1])  # a number, or a tensor where a graph does not know the batch
        if training:
            refuse_one(count)
        before = ops.stop_gradient(self.moving_variance)  # a value: TensorFlow would hand out the variable
        y = super().call(inputs, training=training, mask=mask)
        if training and self.unbiased:
            n = ops.cast(count, before.dtype)
            _, variance = ops.moments(inputs, axes=list(range(len(inputs.shape) - 1)))
            variance = ops.cast(variance, before.dtype) * (n / ops.maximum(n - 1.0, 1.0))
            self.moving_variance.assign((1.0 - self.share) * before + self.share * variance)
        return y

    def get_config(self) -> dict[str, Any]:
        """The options of the constructor."""
        return {**super().get_config(), "momentum": self.share, "unbiased": self.unbiased}


def refuse_one(count: Any) -> None:
    """ValueError for fewer than 2 values a channel; in a graph of TensorFlow, when it runs, InvalidArgumentError.

    XLA drops what a graph asserts: there a variance of one value is 0, as in Keras' own layer.
    """
    rule = "batch norm: training takes at least 2 values for each channel; got"
    if isinstance(count, int):
        if count < 2:
            raise ValueError(f"{rule} {count}")
        return
    import tensorflow as tf

    tf.debugging.assert_greater(count, 1, message=f"{rule} fewer")


def batch_norm(layer: BatchNorm, x: Any, name: str, training: bool | None) -> Any:
    """``layer(x)``; what its statistics become in training are taps below ``name``, the layer's attribute."""
    y = layer(x, training=training)
    if training and probing():
        with scope(name):
            tap("running_mean", ops.stop_gradient(layer.moving_mean), "c")
            tap("running_variance", ops.stop_gradient(layer.moving_variance), "c")
    return y
