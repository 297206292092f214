"""Root mean square norm for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.rms_norm import RMSNorm as Reference
from attn_ref.tap import probing, tap
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class RMSNorm(Mirror):
    """Mirror of ``attn_ref.RMSNorm``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        eps: float = 1e-6,
        zero_centered: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.width, self.eps, self.zero_centered = width, eps, zero_centered

    def build(self, input_shape: Any) -> None:
        start = "zeros" if self.zero_centered else "ones"
        self.scale = self.add_weight(shape=(self.width,), initializer=start, name="scale")
        self.built = True

    def call(self, x: Any) -> Any:
        self.check(x=x)
        scale = self.scale + 1 if self.zero_centered else self.scale
        if not probing():
            return self.norm(x, scale)
        normed = tap("normed", self.norm(x), "b t c")
        return tap("scaled", normed * scale, "b t c")

    def norm(self, x: Any, scale: Any = None) -> Any:
        return ops.rms_normalization(x, scale, axis=-1, epsilon=self.eps)
