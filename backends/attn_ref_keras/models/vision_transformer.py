"""Vision transformer for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.models.vision_transformer import VisionTransformer as Reference
from attn_ref.tap import tap
from attn_ref_keras.blocks.encoder_layer import EncoderLayer
from attn_ref_keras.blocks.patch_embedding import PatchEmbedding
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class VisionTransformer(Mirror):
    """Mirror of ``attn_ref.VisionTransformer``, with the same arguments; images are (b, H, W, channels)."""

    def __init__(
        self,
        *,
        patch: int,
        channels: int = 3,
        image_height: int | None = None,
        image_width: int | None = None,
        width: int,
        num_layers: int,
        num_heads: int,
        hidden_width: int,
        activation: str = "gelu",
        class_token: bool = True,
        positions: bool = True,
        norm_first: bool | None = True,
        final_norm: bool = True,
        eps: float = 1e-6,
        pooling: str = "class",
        num_classes: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = block = Reference.from_options(locals())
        policy, self.width, self.pooling = self.dtype_policy, width, pooling
        self.class_token, self.has_class, self.length = None, class_token, block.num_positions
        self.patch_embedding = PatchEmbedding(patch=patch, channels=channels, width=width, dtype=policy)
        self.position = keras.layers.Embedding(block.num_positions, width, dtype=policy) if positions else None
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        self.layers = [EncoderLayer(**block.layer_options, dtype=policy) for _ in range(num_layers)]
        self.final_norm = keras.layers.LayerNormalization(epsilon=eps, dtype=policy) if final_norm else None
        self.head = keras.layers.Dense(num_classes, dtype=policy) if num_classes else None

    def build(self, input_shape: Any) -> None:
        if self.has_class:
            self.class_token = self.add_weight(shape=(1, self.width), initializer="zeros", name="class_token")
        for layer in (self.patch_embedding, self.position, *self.layers, self.final_norm, self.head):
            if layer is not None:
                layer.build((None, None, self.width))
        self.built = True

    def call(self, image: Any, training: bool | None = None) -> Any:
        self.check(image=image)
        x = self.patch_embedding(image)
        if self.class_token is not None:
            first = ops.broadcast_to(self.class_token, (ops.shape(x)[0], 1, self.width))
            x = tap("with_class", ops.concatenate([first, x], axis=1), "b t c")
        if self.position is not None:
            x = tap("positioned", x + self.position(ops.arange(self.length)), "b t c")
        x = drop(self.drop, x, "b t c", training)

        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x, training=training), "b t c")
        if self.final_norm is not None:
            x = tap("final_norm", self.final_norm(x), "b t c")

        if self.pooling == "class":
            x = tap("pooled", x[:, 0], "b c")
        elif self.pooling == "mean":
            x = tap("pooled", self.mean(x if self.class_token is None else x[:, 1:]), "b c")
        if self.head is not None:
            x = tap("logits", self.head(x), "b t k" if self.pooling == "none" else "b k")
        return x

    def mean(self, x: Any) -> Any:
        # not ops.mean, which on JAX computes float64 in float32
        return ops.sum(x, axis=1) / ops.cast(ops.shape(x)[1], x.dtype)
