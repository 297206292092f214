r"""Transformer encoder layer: self-attention and a feed-forward network, each with a residual and mostly a layer norm.

.. math:: \text{post-norm: } Z = N_1(X + A(X)),\; Y = N_2(Z + F(Z)) \qquad
          \text{pre-norm: } Z = X + A(N_1(X)),\; Y = Z + F(N_2(Z)) \qquad
          \text{no norm: } Z = X + A(X),\; Y = Z + F(Z)

b batch, t length, c width, f hidden width, h heads. A is multi-head attention, F the
feed-forward network, N layer norm.

Differences: eps is 1e-5 here and in torch, 1e-12 in BERT, 1e-6 in ViT and 1e-3 in ``keras.layers.LayerNormalization``.
``nn.TransformerEncoderLayer`` reads its padding mask as True = drop, and on its native path (inference without
gradients) an additive ``src_mask`` as True = drop too, whatever its numbers; the stack ``nn.TransformerEncoder`` zeroes
padded positions there, which a single layer does not.

Source: post-norm: Vaswani et al. 2017, section 3.1; pre-norm: Xiong et al. 2020.

>>> import attn_ref as ar, numpy as np
>>> block = ar.EncoderLayer(width=8, num_heads=2, hidden_width=16)
>>> block(block.init(), np.ones((1, 3, 8))).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, nest, norm, option, same
from attn_ref.blocks.feed_forward import FeedForward
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class EncoderLayer(Block):
    """Attention and feed-forward, with residuals, and norms after (post-norm) or before (pre-norm) them or none."""

    width: int = option(meaning="width that comes in and out", above=0, witness=12)
    num_heads: int = option(meaning="attention heads", above=0, witness=2)
    hidden_width: int = option(meaning="width inside the feed-forward network", above=0, witness=16)
    activation: str = same(
        FeedForward, "activation", draw=(),
        meaning='of the feed-forward network: "relu", "gelu" (error function), "gelu_tanh" or "quick_gelu"',
    )  # fmt: skip
    norm_first: bool | None = option(
        default=False, meaning="False: post-norm; True: pre-norm; None: there are no norms", witness=True
    )
    eps: float = option(default=1e-5, meaning="added to the variance by both norms", above=0, witness=0.1)
    dropout: float = same(
        FeedForward, "dropout", meaning="share that training drops of both sub-layers' results and of the hidden values"
    )
    attention_dropout: float = option(
        default=0.0, meaning="share that training drops of the attention weights", least=0, below=1, witness=0.5,
        draw=(0.0, 0.25),
    )  # fmt: skip

    inputs = {
        "x": Input("b t {width}"),
        "attention_mask": Input("b {num_heads} t t", kind="bool", optional=True, broadcast=True, ranks=(4,)),
        "bias": Input("b {num_heads} t t", optional=True, broadcast=True, ranks=(4,)),
    }
    output_axes = "b t c"
    example = {"width": 8, "num_heads": 4, "hidden_width": 12}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.norm_first is not None or self.eps == 1e-5, "eps needs norms; norm_first is None")
        self.require(
            self.width % self.num_heads == 0, f"num_heads = {self.num_heads} does not divide width = {self.width}"
        )

    @cached_property
    def attention(self) -> MultiHeadAttention:
        return MultiHeadAttention(width=self.width, num_heads=self.num_heads, dropout=self.attention_dropout)

    @cached_property
    def feed_forward(self) -> FeedForward:
        return FeedForward.from_options(self.fields())

    def params(self) -> dict[str, Param]:
        normed = self.norm_first is not None
        return {
            **nest("attention", self.attention),
            **(norm("attention_norm", self.width) if normed else {}),
            **nest("feed_forward", self.feed_forward),
            **(norm("feed_forward_norm", self.width) if normed else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> EncoderLayer:
        heads, norm_first = pick(1, 2, 3), pick(False, True, False, True, None)
        return cls(
            width=heads * pick(3, 4, 8),
            num_heads=heads,
            hidden_width=pick(5, 16),
            activation=pick("relu", "gelu", "gelu_tanh"),
            norm_first=norm_first,
            eps=1e-5 if norm_first is None else pick(1e-12, 1e-6, 1e-5, 1e-3),
            **cls.drawn(pick),
        )

    def forward(self, w: Any, x: Any, attention_mask: Any = None, bias: Any = None) -> np.ndarray:
        def attend(x: Any) -> Any:
            y = self.attention(w["attention"], x, attention_mask=attention_mask, bias=bias)
            return ops.dropout(y, self.dropout, "b t c", "keep_attention")

        def feed(x: Any) -> Any:
            y = self.feed_forward(w["feed_forward"], x)
            return ops.dropout(y, self.dropout, "b t c", "keep_feed_forward")

        def norm(name: str, x: Any) -> Any:
            return tap(name, ops.layer_norm(x, w[f"{name}.scale"], w[f"{name}.offset"], eps=self.eps), "b t c")

        if self.norm_first:
            x = tap("attended", x + attend(norm("attention_norm", x)), "b t c")
            return tap("fed", x + feed(norm("feed_forward_norm", x)), "b t c")
        if self.norm_first is None:
            x = tap("attended", x + attend(x), "b t c")
            return tap("fed", x + feed(x), "b t c")
        x = norm("attention_norm", tap("attended", x + attend(x), "b t c"))
        return norm("feed_forward_norm", tap("fed", x + feed(x), "b t c"))
