r"""Scaled dot-product attention: every query takes a weighted mean of the values, weighted by how well keys match.

.. math:: A = \operatorname{softmax}(s\, Q K^\top + B) \quad\text{over the keys that may be attended to},\qquad Y = A V

b batch, g key heads, r query heads per key head (h = g·r), t query length, s key length, d query and key width,
e value width.

Differences: torch's fused function and this definition agree (mask True = attend, a row with nothing to attend to
gives zeros); ``keras.ops.dot_product_attention`` and ``jax.nn.dot_product_attention`` give such a row the mean of all
values; both align ``causal`` at the top left only.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1; grouped heads: Ainslie et al. 2023.

>>> import attn_ref as ar, numpy as np
>>> ar.ScaledDotProductAttention()({}, np.ones((1, 2, 3, 4)), np.ones((1, 2, 5, 4)), np.ones((1, 2, 5, 6))).shape
(1, 2, 3, 6)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Pick
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class ScaledDotProductAttention(Block):
    """softmax(scale · query · keyᵀ + bias, over the keys that the masks keep) · value."""

    #: "head": 1/√d; "total": 1/√(h·d); a number; None: no scaling
    scale: float | str | None = "head"
    #: None; "top_left": query i attends keys ≤ i; "bottom_right": keys ≤ i + s − t
    causal: str | None = None
    #: share of the weights that training drops
    dropout: float = 0.0

    inputs = {
        "query": Input("b (g r) t d"),
        "key": Input("b g s d"),
        "value": Input("b g s e"),
        "attention_mask": Input("b (g r) t s", kind="bool", optional=True, broadcast=True),  # True = attend
        "bias": Input("b (g r) t s", optional=True, broadcast=True),  # added to the scaled scores
    }
    output_axes = "b h t e"
    example = {}
    witnesses = {"scale": 0.3, "causal": "bottom_right", "dropout": 0.5}

    def __post_init__(self) -> None:
        number = isinstance(self.scale, int | float) and not isinstance(self.scale, bool) and math.isfinite(self.scale)
        self.require(
            number or self.scale in ("head", "total", None),
            f"scale should be 'head', 'total', a number or None; got {self.scale!r}",
        )
        self.require_choice("causal", None, "top_left", "bottom_right")
        self.require_rate("dropout")

    @classmethod
    def sample(cls, pick: Pick) -> ScaledDotProductAttention:
        return cls(
            scale=pick("head", "total", 0.3, None, -0.5, 0.0),
            causal=pick(None, "top_left", "bottom_right"),
            dropout=pick(0.0, 0.25),
        )

    def factor(self, heads: int, width: int) -> float:
        """The number that the scores are multiplied by."""
        named = {"head": width**-0.5, "total": (heads * width) ** -0.5, None: 1.0}
        return named[self.scale] if self.scale in named else float(self.scale)  # type: ignore[index,arg-type]

    def forward(
        self, w: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, bias: Any = None
    ) -> np.ndarray:
        h, t, d = query.shape[1:]
        g, s = key.shape[1:3]
        key, value = ops.repeat_heads(key, h // g), ops.repeat_heads(value, h // g)

        scores = ops.matmul(query, key.swapaxes(-1, -2)) * self.factor(h, d)
        scores = tap("scores", scores, "b h t s")
        if bias is not None:
            scores = tap("biased", scores + bias, "b h t s")
        weights = ops.softmax(scores, keep=self.keep(t, s, attention_mask))
        weights = tap("weights", weights, "b h t s")
        weights = ops.dropout(weights, self.dropout, "b h t s")
        return tap("context", ops.matmul(weights, value), "b h t e")

    def keep(self, t: int, s: int, mask: Any) -> Any:
        """Which key each query may attend to: bool, broadcastable to (b, h, t, s), or None for all."""
        if self.causal is None:
            return mask
        shift = s - t if self.causal == "bottom_right" else 0
        causal = np.arange(s) <= np.arange(t)[:, None] + shift
        return causal if mask is None else causal & mask
