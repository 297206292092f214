"""Transformer layer for Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from attn_ref.block import Block
from attn_ref.blocks.transformer_layer import TransformerLayer as Reference
from attn_ref.tap import tap
from attn_ref_keras.dropout import dropout as drop
from attn_ref_keras.mirror import Mirror, mirrored


@keras.saving.register_keras_serializable("attn_ref")
class TransformerLayer(Mirror):
    """Mirror of ``attn_ref.TransformerLayer``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        attention: Block,
        cross_attention: Block | None = None,
        feed_forward: Block,
        norm: Block | None = None,
        norm_place: str = "before",
        attention_normed: bool = True,
        parallel: str | None = None,
        skip_scale: float = 1.0,
        residual_scale: float = 1.0,
        layer_scale: float | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = block = Reference.from_options(locals())
        self.norm_place, self.parallel, self.width = norm_place, parallel, width
        self.skip_scale, self.residual_scale, self.layer_scale = skip_scale, residual_scale, layer_scale
        self.sub_layers, self.norms = list(block.sub_layers), block.norms
        for name, part in block.sub_layers.items():
            setattr(self, name, mirrored(part, self.dtype_policy))
        for name in block.norms:
            setattr(self, name, mirrored(block.norm, self.dtype_policy))
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        for name in (*self.sub_layers, *self.norms):
            getattr(self, name).build(None)
        if self.layer_scale is not None:
            start = keras.initializers.Constant(self.layer_scale)
            for name in self.sub_layers:
                factor = self.add_weight(shape=(self.width,), initializer=start, name=f"{name}_scale")
                setattr(self, f"{name}_scale", factor)
        self.built = True

    def call(
        self,
        x: Any,
        memory: Any = None,
        attention_mask: Any = None,
        bias: Any = None,
        memory_mask: Any = None,
        training: bool | None = None,
    ) -> Any:
        self.check(x=x, memory=memory, attention_mask=attention_mask, bias=bias, memory_mask=memory_mask)

        def attend(x: Any) -> Any:
            return self.attention(x, attention_mask=attention_mask, bias=bias, training=training)

        def look(x: Any) -> Any:
            return self.cross_attention(x, memory, attention_mask=memory_mask, training=training)

        def feed(x: Any) -> Any:
            return self.feed_forward(x, training=training)

        if self.parallel is not None:
            read = self.normed("attention_norm", x)
            own = self.normed("feed_forward_norm", x) if self.parallel == "own" else read
            attended = self.result("attention", attend(read), training)
            fed = self.result("feed_forward", feed(own), training)
            return tap("fed", self.skip_scale * x + attended + fed, "b t c")
        x = self.added("attention", "attended", attend, x, training)
        if hasattr(self, "cross_attention"):
            x = self.added("cross_attention", "crossed", look, x, training)
        return self.added("feed_forward", "fed", feed, x, training)

    def added(self, name: str, label: str, compute: Callable[[Any], Any], x: Any, training: bool | None) -> Any:
        before = self.norm_place in ("before", "around")
        y = compute(self.normed(f"{name}_norm", x) if before else x)
        y = tap(label, self.skip_scale * x + self.result(name, y, training), "b t c")
        return self.normed(f"{name}_norm", y) if self.norm_place == "after" else y

    def result(self, name: str, y: Any, training: bool | None) -> Any:
        y = drop(self.drop, y, "b t c", training, f"keep_{name}")
        if self.norm_place == "inside":
            y = self.normed(f"{name}_norm", y)
        if self.norm_place == "around":
            y = self.normed(f"{name}_post_norm", y)
        factor = getattr(self, f"{name}_scale", None)
        y = y if factor is None else factor * y
        return self.residual_scale * y

    def normed(self, name: str, x: Any) -> Any:
        return getattr(self, name)(x) if hasattr(self, name) else x
