"""Keras' convolutions, channels last, kept from three faults on TensorFlow; docs/findings.md has them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Conv:
    """What surrounds the convolution of a Keras layer."""

    strides: tuple[int, ...]
    groups: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Channels last, whatever ``keras.config.image_data_format()`` is."""
        super().__init__(*args, **{"data_format": "channels_last", **kwargs})

    def call(self, inputs: Any) -> Any:
        """tf-conv-empty: one image more, then none."""
        convolve: Any = super().call  # type: ignore[misc]
        if inputs.shape[0] != 0:
            return convolve(inputs)
        return convolve(ops.pad(inputs, ((0, 1), *((0, 0),) * (len(inputs.shape) - 1))))[:0]

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """tf-bfloat16-strided-convolution: by way of float32. (Conv1D does not come by here.)"""
        if keras.backend.standardize_dtype(inputs.dtype) != "bfloat16" or max(self.strides) == 1:
            return self.convolve(inputs, kernel)
        wide = self.convolve(ops.cast(inputs, "float32"), ops.cast(kernel, "float32"))
        return ops.cast(wide, inputs.dtype)

    def convolve(self, inputs: Any, kernel: Any) -> Any:
        """tf-grouped-conv-compiles: group by group."""
        convolve: Any = super().convolution_op  # type: ignore[misc]
        if self.groups == 1 or keras.backend.backend() != "tensorflow":
            return convolve(inputs, kernel)
        parts = (ops.split(x, self.groups, axis=-1) for x in (inputs, kernel))
        return ops.concatenate([convolve(x, k) for x, k in zip(*parts, strict=True)], axis=-1)


class Conv1D(Conv, keras.layers.Conv1D):
    """``keras.layers.Conv1D``."""


class Conv2D(Conv, keras.layers.Conv2D):
    """``keras.layers.Conv2D``."""


class Conv3D(Conv, keras.layers.Conv3D):
    """``keras.layers.Conv3D``."""
