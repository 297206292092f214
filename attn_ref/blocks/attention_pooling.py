r"""Attention pooling: a learned query attends to all tokens, and one vector comes out.

.. math:: Z = \operatorname{attention}(P, X, X),\qquad Y = Z + F(N(Z))

b batch, t length, c width, u the one query, f hidden width, h heads. P is the probe, a learned query (1, c), the same
for every example; N a layer norm and F a feed-forward network. Of the probe itself nothing is added.

Differences: Set Transformer adds the query to what the attention gives, and norms after it; big_vision's "MAP head",
SigLIP and timm's ``AttentionPoolLatent`` do neither. timm has one packed projection for key and value.

Source: Zhai et al. 2022, "Scaling Vision Transformers", section 3.2; Lee et al. 2019, "Set Transformer", equation 11.

>>> import attn_ref as ar, numpy as np
>>> block = ar.AttentionPooling(width=8, num_heads=2, hidden_width=12)
>>> block(block.init(), np.ones((1, 5, 8))).shape
(1, 8)
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
class AttentionPooling(Block):
    """A learned query, cross-attention to the tokens, and a feed-forward network with a residual."""

    width: int = option(meaning="width of a token, and of what comes out", above=0, witness=12)
    num_heads: int = option(meaning="attention heads", above=0, witness=2)
    hidden_width: int = option(meaning="width inside the feed-forward network", above=0, witness=16, draw=(5, 16))
    activation: str = same(
        FeedForward, "activation",
        meaning='of the feed-forward network: "relu", "gelu" (error function), "gelu_tanh" or "quick_gelu"',
    )  # fmt: skip
    eps: float = option(
        default=1e-6, meaning="added to the variance by the norm", above=0, witness=0.1, draw=(1e-12, 1e-6, 1e-5)
    )

    inputs = {"x": Input("b t {width}")}
    output_axes = "b c"
    example = {"width": 8, "num_heads": 4, "hidden_width": 12}

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.attention  # whether the heads divide the width is checked there

    @cached_property
    def attention(self) -> MultiHeadAttention:
        return MultiHeadAttention(width=self.width, num_heads=self.num_heads)

    @cached_property
    def feed_forward(self) -> FeedForward:
        return FeedForward.from_options(self.fields())

    def params(self) -> dict[str, Param]:
        return {
            "probe": Param((1, self.width), "embedding"),
            **nest("attention", self.attention),
            **norm("norm", self.width),
            **nest("feed_forward", self.feed_forward),
        }

    @classmethod
    def sample(cls, pick: Pick) -> AttentionPooling:
        heads = pick(1, 2, 3)
        return cls(width=heads * pick(4, 5), num_heads=heads, **cls.drawn(pick))

    def forward(self, w: Any, x: Any) -> np.ndarray:
        probe = np.broadcast_to(w["probe"], (len(x), 1, self.width))
        attended = tap("attended", self.attention(w["attention"], probe, x), "b u c")
        normed = tap("normed", ops.layer_norm(attended, w["norm.scale"], w["norm.offset"], eps=self.eps), "b u c")
        fed = tap("fed", attended + self.feed_forward(w["feed_forward"], normed), "b u c")
        return fed[:, 0]
