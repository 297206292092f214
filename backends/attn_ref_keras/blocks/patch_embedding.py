"""Patch embedding for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.patch_embedding import PatchEmbedding as Reference
from attn_ref.tap import tap
from attn_ref_keras.conv import Conv2D
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class PatchEmbedding(Mirror):
    """Mirror of ``attn_ref.PatchEmbedding``, with the same arguments; images are (b, H, W, channels)."""

    def __init__(
        self,
        *,
        patch: int,
        channels: int,
        width: int,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channels, self.width = channels, width
        self.project = Conv2D(
            width, patch, strides=patch, padding="valid", use_bias=use_bias, dtype=self.dtype_policy
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        self.project.build((None, None, None, self.channels))
        self.built = True

    def call(self, image: Any) -> Any:
        self.check(image=image)
        projected = tap("projected", self.project(image), "b H W c")
        b, rows, columns, _ = ops.shape(projected)
        return tap("tokens", ops.reshape(projected, (b, rows * columns, self.width)), "b t c")
