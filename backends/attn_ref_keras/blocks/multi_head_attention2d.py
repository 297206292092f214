"""Multi-head attention over the pixels of a feature map for Keras, channels last."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attn_ref.blocks.multi_head_attention2d import MultiHeadAttention2d as Reference
from attn_ref.tap import tap
from attn_ref_keras.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref_keras.conv import Conv2D
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class MultiHeadAttention2d(Mirror):
    """Mirror of ``attn_ref.MultiHeadAttention2d``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        num_heads: int,
        head_width: int | None = None,
        value_head_width: int | None = None,
        output_channels: int | None = None,
        scale: float | str | None = "head",
        activation: str | None = None,
        position: str | None = None,
        project: bool = True,
        residual: bool = False,
        use_bias: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.channels, self.num_heads, self.activation, self.residual = channels, num_heads, activation, residual
        d = head_width or channels // num_heads
        self.e = value_head_width or d
        same: dict[str, Any] = {"use_bias": use_bias, "dtype": self.dtype_policy}
        self.position = Conv2D(channels, 1, **same) if position else None
        self.query = Conv2D(num_heads * d, 1, **same)
        self.key = Conv2D(num_heads * d, 1, **same)
        self.value = Conv2D(num_heads * self.e, 1, **same)
        self.project = Conv2D(output_channels or channels, 1, **same) if project else None
        self.attention = ScaledDotProductAttention(scale=scale, dropout=dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        for layer in (self.position, self.query, self.key, self.value):
            if layer is not None:
                layer.build((None, None, None, self.channels))
        if self.project is not None:
            self.project.build((None, None, None, self.num_heads * self.e))
        self.attention.build(None)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.check(x=x)
        b, height, width, _ = ops.shape(x)
        pixels = x
        if self.position is not None:
            pixels = tap("positioned", x + ops.relu(self.position(x)), "b H W c")
        q = tap("query", self.heads(self.query(pixels)), "b h t d")
        k = tap("key", self.heads(self.key(pixels)), "b h s d")
        v = tap("value", self.heads(self.value(pixels)), "b h s e")

        context = self.attention(q, k, v, training=training)
        merged = ops.reshape(ops.swapaxes(context, 1, 2), (b, height, width, self.num_heads * self.e))
        y = tap("merged", merged, "b H W c")
        if self.project is not None:
            y = tap("projected", self.project(y), "b H W c")
        return y + x if self.residual else y

    def heads(self, x: Any) -> Any:
        """(b, H, W, h·d) → (b, h, H·W, d), after the activation."""
        active = ops.relu(x) if self.activation == "relu" else x
        b, height, width, _ = ops.shape(x)
        split = (b, height * width, self.num_heads, x.shape[-1] // self.num_heads)
        return ops.swapaxes(ops.reshape(active, split), 1, 2)
