"""Layer norm for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.layer_norm import LayerNorm as Reference
from attn_ref.tap import probing, tap
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class LayerNorm(Mirror):
    """Mirror of ``attn_ref.LayerNorm``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        eps: float = 1e-5,
        use_scale: bool = True,
        use_offset: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.width, self.eps = width, eps
        self.use_scale, self.use_offset = use_scale, use_offset
        self.scale = self.offset = None

    def build(self, input_shape: Any) -> None:
        if self.use_scale:
            self.scale = self.add_weight(shape=(self.width,), initializer="ones", name="scale")
        if self.use_offset:
            self.offset = self.add_weight(shape=(self.width,), initializer="zeros", name="offset")
        self.built = True

    def call(self, x: Any) -> Any:
        self.check(x=x)
        if not probing():
            return self.norm(x, self.scale, self.offset)
        y = tap("normed", self.norm(x), "b t c")
        if self.scale is not None:
            y = tap("scaled", y * self.scale, "b t c")
        return y if self.offset is None else tap("shifted", y + self.offset, "b t c")

    def norm(self, x: Any, scale: Any = None, offset: Any = None) -> Any:
        return ops.layer_normalization(x, scale, offset, axis=-1, epsilon=self.eps)
