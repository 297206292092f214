"""T5's relative position bias for Keras."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.relative_position_bias import RelativePositionBias as Reference
from attn_ref.tap import tap
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class RelativePositionBias(Mirror):
    """Mirror of ``attn_ref.RelativePositionBias``, with the same arguments."""

    def __init__(
        self,
        *,
        num_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.bidirectional = bidirectional
        self.side = num_buckets // 2 if bidirectional else num_buckets
        self.starts = bucket_starts(self.side, max_distance)
        self.table = keras.layers.Embedding(num_buckets, num_heads, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        self.table.build((None, None))
        self.built = True

    def call(self, query_positions: Any, key_positions: Any = None) -> Any:
        self.check(query_positions=query_positions, key_positions=key_positions)
        key_positions = query_positions if key_positions is None else key_positions
        offsets = ops.cast(key_positions, "int32") - ops.cast(query_positions, "int32")[:, None]
        return tap("bias", ops.transpose(self.table(self.buckets(offsets)), (2, 0, 1)), "h t s")

    def buckets(self, offsets: Any) -> Any:
        if not self.bidirectional:
            return ops.digitize(ops.maximum(-offsets, 0), self.starts)
        return ops.digitize(ops.abs(offsets), self.starts) + self.side * ops.cast(offsets > 0, "int32")


def bucket_starts(side: int, max_distance: int) -> list[int]:
    """The smallest distance in every bucket of a side but the first, by fractions: rounded logarithms may miss it."""
    near = side // 2
    starts, distance = list(range(1, near + 1)), near
    for m in range(1, side - near):
        while Fraction(distance, near) ** (side - near) < Fraction(max_distance, near) ** m:
            distance += 1
        starts.append(distance)
    return starts
