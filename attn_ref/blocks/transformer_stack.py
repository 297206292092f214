r"""A stack of transformer layers: positions, a norm, layers, a norm. The encoder or the decoder of a larger model.

.. math:: X_0 = N_0(X + P[o + p_0 \dots o + p_{t-1}]),\qquad X_{i+1} = \operatorname{layer}_i(X_i, M, B),\qquad
          Y = N(X_L)

b batch, t length, s memory length, c width, m memory width, h heads. P is a table, p positions, o the row of the first
one, B a bias for the scores of self-attention from positions alone. M is the memory that ``cross_attention`` of the
layers reads, if they have one. Norms, P and B are there if the options say so. ``padding_mask`` (b, t) and
``memory_mask`` (b, s) are True at what is real; padding is never attended to, and does not shift positions.

Differences: BART's tables begin with two rows that nothing reads. T5's layers share the bias whose table is kept in the
first of them; its cross-attention has none.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.1.

>>> import attn_ref as ar, numpy as np
>>> block = ar.TransformerStack(**ar.TransformerStack.example)
>>> block(block.init(), np.ones((1, 3, 8))).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, nest, option
from attn_ref.blocks.feed_forward import FeedForward
from attn_ref.blocks.layer_norm import LayerNorm
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.blocks.relative_position_bias import RelativePositionBias
from attn_ref.blocks.rms_norm import RMSNorm
from attn_ref.blocks.transformer_layer import TransformerLayer, widths
from attn_ref.kv_cache import past, seen
from attn_ref.ops.positions import in_precision
from attn_ref.tap import tap


def plain(width: int = 8, *, crosses: bool = False) -> TransformerLayer:
    """A layer of two heads, of an encoder, or of a decoder that reads a memory."""
    attention = MultiHeadAttention(width=width, num_heads=2)
    return TransformerLayer(
        width=width, norm=LayerNorm(width=width), feed_forward=FeedForward(width=width, hidden_width=5),
        attention=replace(attention, causal="bottom_right") if crosses else attention,
        cross_attention=attention if crosses else None,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TransformerStack(Block):
    """Positions, layers, norms."""

    width: int = option(
        meaning="width that comes in and out", above=0,
        witness={"width": 12, "layer": plain(12), "final_norm": LayerNorm(width=12)},
    )  # fmt: skip
    num_layers: int = option(meaning="layers", above=0, witness=1, draw=(1, 2))
    layer: Block = option(
        meaning="a block for layer: what every layer is", role="layer", witness=replace(plain(), norm_place="after")
    )
    max_length: int | None = option(
        default=None, meaning="how many learned positions there are; None: there are none", above=0, witness=9,
        draw=(None, 9),
    )  # fmt: skip
    position_offset: int = option(
        default=0, meaning="which row of their table is the first one's", least=0, needs="max_length",
        witness={"max_length": 9, "position_offset": 2},
    )  # fmt: skip
    position_bias: Block | None = option(
        default=None, meaning="a block for position bias, which every layer adds to its scores; None: nothing is added",
        role="position bias", witness=RelativePositionBias(num_heads=2),
    )  # fmt: skip
    embedding_norm: Block | None = option(
        default=None, meaning="a block for norm, of what comes in, with its positions; None: there is none",
        role="norm", witness=LayerNorm(width=8),
    )  # fmt: skip
    final_norm: Block | None = option(
        default=None, meaning="a block for norm, behind the last layer; None: there is none", role="norm", witness=None
    )
    dropout: float = option(
        default=0.0, meaning="share that training drops of what the first layer reads", least=0, below=1, witness=0.5,
        draw=(0.0, 0.25),
    )  # fmt: skip

    role = "stack"
    inputs = {
        "x": Input("b t {width}"),
        "memory": Input("b s {memory_width}", needs="cross_attention"),
        "padding_mask": Input("b t", kind="bool", optional=True),  # True = real
        "memory_mask": Input("b s", kind="bool", optional=True, needs="cross_attention"),
    }
    output_axes = "b t c"
    limits = {"t": "max_length"}
    counts = {"num_layers": "layers"}
    example = {"width": 8, "num_layers": 2, "layer": plain(), "final_norm": LayerNorm(width=8)}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layer", "embedding_norm", "final_norm"):
            part = getattr(self, name)
            self.require(
                part is None or set(widths(part)) == {self.width},
                "{} should have width = {}; got {}",
                name,
                self.width,
                part,
            )
        bias = self.position_bias
        self.require(
            bias is None or getattr(bias, "num_heads", 0) == getattr(self.layer, "num_heads", 0),
            "layer should have as many heads as position_bias; got {} and {}",
            self.layer,
            bias,
        )

    @cached_property
    def layers(self) -> tuple[Block, ...]:
        return (self.layer,) * self.num_layers

    @property
    def cross_attention(self) -> Block | None:
        return getattr(self.layer, "cross_attention", None)

    @property
    def memory_width(self) -> int:
        return int(getattr(self.layer, "memory_width", self.width))

    def params(self) -> dict[str, Param]:
        rows = self.position_offset + (self.max_length or 0)
        return {
            **({"position.embedding": Param((rows, self.width))} if self.max_length else {}),
            **(nest("position_bias", self.position_bias) if self.position_bias else {}),
            **(nest("embedding_norm", self.embedding_norm) if self.embedding_norm else {}),
            **nest("layers", self.layers),
            **(nest("final_norm", self.final_norm) if self.final_norm else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> TransformerStack:
        width, crosses = pick(8, 12), pick(False, True)
        layer, drawn = plain(width, crosses=crosses), cls.drawn(pick)
        layer = pick(layer, replace(layer, norm_place="after"), replace(layer, norm=RMSNorm(width=width)))
        if crosses:
            memory: Any = layer.cross_attention
            layer = replace(layer, cross_attention=pick(memory, replace(memory, key_width=5, scale=None)))
        bias = RelativePositionBias(num_heads=2, num_buckets=8, max_distance=9, bidirectional=not crosses)
        return cls(
            width=width,
            layer=layer,
            position_offset=pick(0, 2) if drawn["max_length"] else 0,
            position_bias=pick(None, None, bias),
            embedding_norm=pick(None, LayerNorm(width=width)),
            final_norm=pick(RMSNorm(width=width), LayerNorm(width=width), None),
            **drawn,
        )

    def forward(
        self, w: Any, x: Any, memory: Any = None, padding_mask: Any = None, memory_mask: Any = None
    ) -> np.ndarray:
        before, t = past(), x.shape[1]
        if self.max_length is not None:
            first = self.position_offset + before
            x = x + w["position.embedding"][first : first + t]
        x = tap("embedded", x, "b t c")
        if self.embedding_norm is not None:
            x = self.embedding_norm(w["embedding_norm"], x)
        x = ops.dropout(x, self.dropout, "b t c")

        real, given = seen(padding_mask), {}
        if real is not None:
            given["attention_mask"] = real[:, None, None, :]
        if self.position_bias is not None:
            positions = np.arange(before + t)
            bias = self.position_bias(w["position_bias"], positions[before:], positions)
            given["bias"] = in_precision(bias, x)[None]
        if self.cross_attention is not None:
            given["memory"] = memory
            given["memory_mask"] = None if memory_mask is None else memory_mask[:, None, None, :]
        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(w[f"layers.{i}"], x, **given), "b t c")
        return x if self.final_norm is None else self.final_norm(w["final_norm"], x)
