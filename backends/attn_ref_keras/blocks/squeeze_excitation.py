"""Squeeze-and-excitation for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.squeeze_excitation import SqueezeExcitation as Reference
from attn_ref.tap import tap
from attn_ref_keras.mirror import Mirror
from attn_ref_keras.spatial import mean_over_space


@keras.saving.register_keras_serializable("attn_ref")
class SqueezeExcitation(Mirror):
    """Mirror of ``attn_ref.SqueezeExcitation``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        reduction: int = 16,
        reduced_width: int | None = None,
        use_bias: bool = True,
        gate: str = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        width = reduced_width or channels // reduction
        self.reduce = keras.layers.Dense(width, use_bias=use_bias, dtype=self.dtype_policy)
        self.expand = keras.layers.Dense(channels, use_bias=use_bias, dtype=self.dtype_policy)
        self.gate = gate

    def build(self, input_shape: Any) -> None:
        self.reduce.build((None, self.expand.units))
        self.expand.build((None, self.reduce.units))
        self.built = True

    def call(self, x: Any) -> Any:
        self.check(x=x)
        squeezed = tap("squeezed", mean_over_space(x), "b c")
        reduced = tap("reduced", self.reduce(squeezed), "b r")
        active = tap("active", ops.relu(reduced), "b r")
        expanded = tap("expanded", self.expand(active), "b c")
        gate = ops.hard_sigmoid(expanded) if self.gate == "hard_sigmoid" else ops.sigmoid(expanded)
        return tap("excited", x * tap("gate", gate, "b c")[:, None, None, :], "b H W c")
