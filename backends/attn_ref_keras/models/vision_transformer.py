"""Vision transformer for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.models.vision_transformer import VisionTransformer as Reference
from attn_ref.tap import tap
from attn_ref_keras.blocks.attention_pooling import AttentionPooling
from attn_ref_keras.blocks.patch_embedding import PatchEmbedding
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror, mirrored


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
        distilled_token: bool = False,
        register_tokens: int = 0,
        patch_bias: bool = True,
        positions: bool = True,
        class_position: bool = True,
        embedding_norm: bool = False,
        norm_first: bool | None = True,
        layer_scale: float | None = None,
        final_norm: bool = True,
        eps: float = 1e-6,
        pooling: str = "class",
        pooled_norm: bool = False,
        num_classes: int | None = None,
        head_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = block = Reference.from_options(locals())
        policy, self.width, self.pooling, self.prefix = self.dtype_policy, width, pooling, block.prefix
        self.class_token = self.distilled_token = self.register_tokens = None
        self.tokens = {
            "class_token": class_token,
            "distilled_token": distilled_token,
            "register_tokens": register_tokens,
        }
        self.length, self.class_position = block.num_positions, class_position
        self.patch_embedding = PatchEmbedding(
            patch=patch, channels=channels, width=width, use_bias=patch_bias, dtype=policy
        )  # fmt: skip
        self.position = keras.layers.Embedding(block.num_positions, width, dtype=policy) if positions else None
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        self.embedding_norm = self.norm(eps) if embedding_norm else None
        self.layers = [mirrored(layer, policy) for layer in block.layers]
        self.final_norm = self.norm(eps) if final_norm else None
        self.pool = AttentionPooling(**block.pool.fields(), dtype=policy) if block.pool else None
        self.pooled_norm = self.norm(eps) if pooled_norm else None
        self.head = keras.layers.Dense(num_classes, use_bias=head_bias, dtype=policy) if num_classes else None
        self.distilled_head = None
        if pooling == "distilled" and num_classes:
            self.distilled_head = keras.layers.Dense(num_classes, use_bias=head_bias, dtype=policy)

    def norm(self, eps: float) -> Any:
        return keras.layers.LayerNormalization(epsilon=eps, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        for name, count in self.tokens.items():
            if count:
                setattr(self, name, self.add_weight(shape=(int(count), self.width), initializer="zeros", name=name))
        norms, heads = (self.embedding_norm, self.final_norm, self.pooled_norm), (self.head, self.distilled_head)
        for layer in (self.patch_embedding, self.position, *self.layers, self.pool, *norms, *heads):
            if layer is not None:
                layer.build((None, None, self.width))
        self.built = True

    def call(self, image: Any, training: bool | None = None) -> Any:
        self.check(image=image)
        x = self.patch_embedding(image)
        first = [token for token in (self.class_token, self.distilled_token) if token is not None]
        x = x if self.class_position else self.placed(x)
        if first:
            tokens = self.spread(ops.concatenate(first, axis=0), x)
            x = tap("with_class", ops.concatenate([tokens, x], axis=1), "b t c")
        x = self.placed(x) if self.class_position else x
        if self.register_tokens is not None:
            registers, at = self.spread(self.register_tokens, x), len(first)
            x = tap("with_registers", ops.concatenate([x[:, :at], registers, x[:, at:]], axis=1), "b t c")
        x = drop(self.drop, x, "b t c", training)
        if self.embedding_norm is not None:
            x = tap("embedding_norm", self.embedding_norm(x), "b t c")

        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x, training=training), "b t c")
        if self.final_norm is not None:
            x = tap("final_norm", self.final_norm(x), "b t c")

        if self.head is not None and self.distilled_head is not None:
            return tap("logits", (self.head(x[:, 0]) + self.distilled_head(x[:, 1])) / 2, "b k")
        if self.pooling == "class":
            x = tap("pooled", x[:, 0], "b c")
        elif self.pooling == "mean":
            x = tap("pooled", self.mean(x[:, self.prefix :]), "b c")
        elif self.pool is not None:
            x = tap("pooled", self.pool(x[:, self.prefix :], training=training), "b c")
        if self.pooled_norm is not None:
            x = tap("pooled_norm", self.pooled_norm(x), "b c")
        if self.head is not None:
            x = tap("logits", self.head(x), "b t k" if self.pooling == "none" else "b k")
        return x

    def placed(self, x: Any) -> Any:
        return x if self.position is None else tap("positioned", x + self.position(ops.arange(self.length)), "b t c")

    def spread(self, tokens: Any, x: Any) -> Any:
        """The same tokens for every example of x."""
        return ops.broadcast_to(tokens, (ops.shape(x)[0], *tokens.shape))

    def mean(self, x: Any) -> Any:
        # not ops.mean, which on JAX computes float64 in float32
        return ops.sum(x, axis=1) / ops.cast(ops.shape(x)[1], x.dtype)
