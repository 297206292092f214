"""Attention with linear biases for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.linear_position_bias import LinearPositionBias as Reference
from attn_ref.tap import tap
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class LinearPositionBias(Mirror):
    """Mirror of ``attn_ref.LinearPositionBias``, with the same arguments. It has no weights."""

    def __init__(
        self,
        *,
        num_heads: int,
        symmetric: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.num_heads, self.symmetric = num_heads, symmetric

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, query_positions: Any, key_positions: Any = None) -> Any:
        self.check(query_positions=query_positions, key_positions=key_positions)
        key_positions = query_positions if key_positions is None else key_positions
        wide = "float64" if self.compute_dtype == "float64" else "float32"  # narrower: no whole numbers above 2048
        slopes = tap("slopes", ops.convert_to_tensor(self.slopes(), dtype=wide), "h")
        offsets = ops.cast(key_positions, wide) - ops.cast(query_positions, wide)[:, None]
        offsets = -ops.abs(offsets) if self.symmetric else offsets
        return tap("bias", ops.cast(slopes[:, None, None] * offsets, self.compute_dtype), "h t s")

    def slopes(self) -> list[float]:
        heads, n = self.num_heads, 1
        while 2 * n <= heads:
            n *= 2
        geometric = [2 ** (-8 * (i + 1) / n) for i in range(n)]
        twice = [2 ** (-4 * (i + 1) / n) for i in range(2 * n)]
        return geometric + twice[0::2][: heads - n]
