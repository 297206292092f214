r"""Multi-head attention 2d: multi-head self-attention over the pixels of a feature map, with 1 × 1 convolutions.

.. math:: Y = \operatorname{merge}_h\bigl(\operatorname{attention}(Q_h, K_h, V_h)\bigr) * W_O + b_O \;(+\, X),\qquad
          Q = \sigma(P * W_Q + b_Q),\; K = \sigma(P * W_K + b_K),\; V = \sigma(P * W_V + b_V),\qquad
          P = X \;(+ \operatorname{relu}(X * W_P + b_P))

b batch, H height, W width, c channels; t and s the H·W pixels as queries and as keys, row by row; h heads, d head
width, e value head width. A head is a contiguous slice of the projected channels. σ is ``activation``, the last
convolution is there if ``project`` is, X is added at the end if ``residual`` is: the X that came in, not P.

``position="content"`` is what some implementations call a position encoding. It sees the content of one pixel and not
where it stands, so with it, as without it, permuting the pixels permutes the result and changes nothing else.

Differences: ``nn.MultiheadAttention`` and ``keras.layers.MultiHeadAttention`` on the flattened map are this block with
``project=True`` and no activation; a 1 × 1 convolution is their linear layer. timm's ``Attention2d`` projects query,
key and value by one convolution, whose channels are (h, 3, d) or (3, h, d). Other published versions have one head,
ReLU on query, key and value, no scale and no output projection; all of these are options here.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2; on feature maps: Bello et al. 2019, "Attention
Augmented Convolutional Networks", section 3.1 (without its relative positions).

>>> import attn_ref as ar, numpy as np
>>> block = ar.MultiHeadAttention2d(channels=8, num_heads=2)
>>> block(block.init(), np.ones((1, 3, 5, 8))).shape
(1, 3, 5, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, conv, option, same
from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class MultiHeadAttention2d(Block):
    """Self-attention of the pixels of ``x``."""

    channels: int = option(meaning="channels that come in", above=0, witness=6)
    num_heads: int = option(meaning="heads", above=0, witness=4)
    head_width: int | None = option(
        default=None, meaning="width of one head's query and key; None: channels // num_heads", above=0, witness=3
    )
    value_head_width: int | None = option(
        default=None, meaning="width of one head's value; None: that of its key", above=0, witness=3
    )
    output_channels: int | None = option(
        default=None, meaning="channels that the output projection gives; None: those that come in", above=0,
        needs="project", witness=6,
    )  # fmt: skip
    scale: float | str | None = same(
        ScaledDotProductAttention, "scale", witness="total", draw=("head", "head", "total", 0.3, None, -0.5),
        meaning='of the scores: "head": 1/√head_width; "total": 1/√(num_heads·head_width); a number; None: no scaling',
    )  # fmt: skip
    activation: str | None = option(
        default=None, meaning='of query, key and value: None or "relu"', choices=("relu",), witness="relu",
        draw=(None, "relu"),
    )  # fmt: skip
    position: str | None = option(
        default=None, meaning='None; "content": relu of a 1 × 1 convolution of x is added to x first',
        choices=("content",), witness="content", draw=(None, "content"),
    )  # fmt: skip
    project: bool = option(default=True, meaning="is there an output projection?", witness=False)
    residual: bool = option(default=False, meaning="is x added to what comes out?", witness=True)
    use_bias: bool = option(default=True, meaning="have the convolutions a bias?", witness=False, draw=(True, False))
    dropout: float = same(
        ScaledDotProductAttention, "dropout", meaning="share of the attention weights that training drops"
    )

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b H W c"
    example = {"channels": 4, "num_heads": 2}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.head_width is not None or self.channels % self.num_heads == 0,
            f"num_heads = {self.num_heads} does not divide channels = {self.channels}; give head_width",
        )
        self.require(
            not self.residual or self.width_out == self.channels,
            f"residual adds channels = {self.channels} channels to {self.width_out}; they should be as many",
        )

    @property
    def d(self) -> int:
        return self.head_width or self.channels // self.num_heads

    @property
    def e(self) -> int:
        return self.value_head_width or self.d

    @property
    def width_out(self) -> int:
        return self.output_channels or self.channels if self.project else self.num_heads * self.e

    @cached_property
    def attention(self) -> ScaledDotProductAttention:
        return ScaledDotProductAttention.from_options(self.fields())

    def params(self) -> dict[str, Param]:
        heads, bias = self.num_heads, self.use_bias
        return {
            **(conv("position", (1, 1), self.channels, self.channels, bias=bias) if self.position else {}),
            **conv("query", (1, 1), self.channels, heads * self.d, bias=bias),
            **conv("key", (1, 1), self.channels, heads * self.d, bias=bias),
            **conv("value", (1, 1), self.channels, heads * self.e, bias=bias),
            **(conv("project", (1, 1), heads * self.e, self.width_out, bias=bias) if self.project else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> MultiHeadAttention2d:
        heads, per_head, project, residual = pick(1, 2, 3), pick(1, 3, 4), pick(True, True, False), pick(False, True)
        free = project or not residual
        return cls(
            channels=heads * per_head,
            num_heads=heads,
            head_width=pick(None, None, 2, 5) if free else None,
            value_head_width=pick(None, None, 2, 5) if free else None,
            output_channels=pick(None, 6) if project and not residual else None,
            project=project,
            residual=residual,
            **cls.drawn(pick),
        )

    def forward(self, w: Any, x: Any) -> np.ndarray:
        b, height, width, _ = x.shape
        pixels = x
        if self.position == "content":
            pixels = tap("positioned", x + ops.relu(self.conv(w, "position", x)), "b H W c")
        q, k, v = (self.heads(self.conv(w, name, pixels)) for name in ("query", "key", "value"))
        q, k, v = tap("query", q, "b h t d"), tap("key", k, "b h s d"), tap("value", v, "b h s e")

        context = self.attention(w["attention"], q, k, v)
        y = tap("merged", ops.merge_heads(context).reshape(b, height, width, self.num_heads * self.e), "b H W c")
        if self.project:
            y = tap("projected", self.conv(w, "project", y), "b H W c")
        return y + x if self.residual else y

    def conv(self, w: Any, name: str, x: Any) -> Any:
        return ops.conv(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.use_bias else None)

    def heads(self, x: Any) -> Any:
        """(b, H, W, h·d) → (b, h, H·W, d), after the activation."""
        b, height, width, channels = x.shape
        active = ops.relu(x) if self.activation == "relu" else x
        return ops.split_heads(active.reshape(b, height * width, channels), self.num_heads)
