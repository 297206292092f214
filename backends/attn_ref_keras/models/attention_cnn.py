"""A small convolutional network of attention blocks for Keras."""

from __future__ import annotations

from typing import Any

import keras

from attn_ref.models.attention_cnn import AttentionCNN as Reference
from attn_ref.tap import tap
from attn_ref_keras.blocks.cbam_residual import CBAMResidual
from attn_ref_keras.blocks.non_local import NonLocal
from attn_ref_keras.blocks.selective_kernel import SelectiveKernel
from attn_ref_keras.blocks.squeeze_excitation import SqueezeExcitation
from attn_ref_keras.mirror import Mirror
from attn_ref_keras.spatial import mean_over_space


@keras.saving.register_keras_serializable("attn_ref")
class AttentionCNN(Mirror):
    """Mirror of ``attn_ref.AttentionCNN``, with the same arguments; images are (b, H, W, channels)."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        num_classes: int,
        stride: int = 2,
        branches: int = 2,
        groups: int = 1,
        reduction: int = 4,
        sub_sample: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = block = Reference.from_options(locals())
        policy, self.width = self.dtype_policy, width
        self.stem = CBAMResidual(**block.stem_options, dtype=policy)
        self.selective_kernel = SelectiveKernel(**block.selective_kernel_options, dtype=policy)
        self.squeeze_excitation = SqueezeExcitation(channels=width, reduction=reduction, dtype=policy)
        self.non_local = NonLocal(**block.non_local_options, dtype=policy)
        self.head = keras.layers.Dense(num_classes, dtype=policy)

    def build(self, input_shape: Any) -> None:
        for layer in (self.stem, self.selective_kernel, self.squeeze_excitation, self.non_local):
            layer.build(None)
        self.head.build((None, self.width))
        self.built = True

    def call(self, image: Any, training: bool | None = None) -> Any:
        self.check(image=image)
        x = self.selective_kernel(self.stem(image, training=training), training=training)
        x = tap("features", self.non_local(self.squeeze_excitation(x), training=training), "b P Q f")
        pooled = tap("pooled", mean_over_space(x), "b f")
        return tap("logits", self.head(pooled), "b k")
