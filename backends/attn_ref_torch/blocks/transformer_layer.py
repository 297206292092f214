"""Transformer layer for torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from attn_ref.block import Block
from attn_ref.blocks.transformer_layer import TransformerLayer as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout
from attn_ref_torch.mirror import Mirror, mirrored


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
    ) -> None:
        super().__init__()
        self.block = block = Reference.from_options(locals())
        self.attention: Any = mirrored(block.attention)
        self.cross_attention: Any = mirrored(block.cross_attention)
        self.feed_forward: Any = mirrored(block.feed_forward)
        self.norm_place, self.parallel = norm_place, parallel
        self.skip_scale, self.residual_scale = skip_scale, residual_scale
        if layer_scale is not None:
            for name in block.sub_layers:
                self.register_parameter(f"{name}_scale", nn.Parameter(torch.full((width,), layer_scale)))
        for name in block.norms:
            self.add_module(name, mirrored(block.norm))
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        attention_mask: Tensor | None = None,
        bias: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        check(self, x=x, memory=memory, attention_mask=attention_mask, bias=bias, memory_mask=memory_mask)
        if self.parallel is not None:
            read = self.normed("attention_norm", x)
            own = self.normed("feed_forward_norm", x) if self.parallel == "own" else read
            attended = self.result("attention", self.attention(read, attention_mask=attention_mask, bias=bias))
            fed = self.result("feed_forward", self.feed_forward(own))
            return tap("fed", self.skip_scale * x + attended + fed, "b t c")
        x = self.added(
            "attention", "attended", lambda x: self.attention(x, attention_mask=attention_mask, bias=bias), x
        )
        if self.cross_attention is not None:
            x = self.added(
                "cross_attention", "crossed", lambda x: self.cross_attention(x, memory, attention_mask=memory_mask), x
            )
        return self.added("feed_forward", "fed", self.feed_forward, x)

    def added(self, name: str, label: str, compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        before = self.norm_place in ("before", "around")
        y = compute(self.normed(f"{name}_norm", x) if before else x)
        y = tap(label, self.skip_scale * x + self.result(name, y), "b t c")
        return self.normed(f"{name}_norm", y) if self.norm_place == "after" else y

    def result(self, name: str, y: Tensor) -> Tensor:
        y = dropout(self.drop, y, "b t c", f"keep_{name}")
        if self.norm_place == "inside":
            y = self.normed(f"{name}_norm", y)
        if self.norm_place == "around":
            y = self.normed(f"{name}_post_norm", y)
        factor = getattr(self, f"{name}_scale", None)
        y = y if factor is None else factor * y
        return self.residual_scale * y

    def normed(self, name: str, x: Tensor) -> Tensor:
        return getattr(self, name)(x) if hasattr(self, name) else x
