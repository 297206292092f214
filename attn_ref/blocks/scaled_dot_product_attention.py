r"""Scaled dot-product attention: every query takes a weighted mean of the values, weighted by how well keys match.

.. math:: A = \operatorname{softmax}\bigl(\operatorname{cap}(s\, Q K^\top) + B\bigr)
          \quad\text{over the keys that may be attended to},\qquad Y = A V,\qquad
          \operatorname{cap}(x) = c \tanh(x / c)

b batch, g key heads, r query heads per key head (h = g·r), t query length, s key length, d query and key width,
e value width.

Query i of the sequence stands at position p = i, or i + s − t if ``causal`` is "bottom_right" (s is the sequence's own
key length where ``key_lengths`` is given), plus its ``query_offset``; s − t aligns a window without ``causal`` at the
bottom right, also where it is negative. It may attend to key j if j ≤ p (causal), p − window_left ≤ j ≤
p + window_right, j < key length, and the mask says so.

Differences: torch's fused function and this definition agree (mask True = attend, a row with nothing to attend to
gives zeros); ``keras.ops.dot_product_attention`` and ``jax.nn.dot_product_attention`` give such a row the mean of all
values; all three align ``causal`` at the top left only. A window's bounds are inclusive here, as in FlashAttention;
elsewhere a window of n often means n keys, this one included. The cap comes before bias and mask, as in Gemma 2. A sink
is a further logit of its head (GPT-OSS), not a gate after the softmax.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1; grouped heads: Ainslie et al. 2023; windows:
Beltagy et al. 2020, "Longformer"; soft capping: Gemma Team 2024, "Gemma 2"; sinks: Xiao et al. 2023, and OpenAI 2025,
"gpt-oss".

>>> import attn_ref as ar, numpy as np
>>> ar.ScaledDotProductAttention()({}, np.ones((1, 2, 3, 4)), np.ones((1, 2, 5, 4)), np.ones((1, 2, 5, 6))).shape
(1, 2, 3, 6)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class ScaledDotProductAttention(Block):
    """softmax(cap(scale · query · keyᵀ) + bias, over the keys that the masks keep) · value."""

    scale: float | str | None = option(
        default="head", meaning='"head": 1/√d; "total": 1/√(h·d); a number; None: no scaling',
        choices=("head", "total"), witness=0.3, draw=("head", "total", 0.3, None, -0.5, 0.0),
    )  # fmt: skip
    softcap: float | None = option(
        default=None, meaning="the bound c of c·tanh(scores / c); None: no bound", above=0, witness=1.0,
        draw=(None, None, 1.5, 30.0),
    )  # fmt: skip
    causal: str | None = option(
        default=None, meaning='None; "top_left": query i attends keys ≤ i; "bottom_right": keys ≤ i + s − t',
        choices=("top_left", "bottom_right"), witness="bottom_right", draw=(None, None, "top_left", "bottom_right"),
    )  # fmt: skip
    window_left: int | None = option(
        default=None, meaning="how many keys before its own position a query attends to; None: all", least=0, witness=0,
        draw=(None, None, None, 0, 1, 4),
    )  # fmt: skip
    window_right: int | None = option(
        default=None, meaning="how many keys after its own position; None: all", least=0, witness=0,
        draw=(None, None, None, 0, 2),
    )  # fmt: skip
    dropout: float = option(
        default=0.0, meaning="share of the weights that training drops", least=0, below=1, witness=0.5, draw=(0.0, 0.25)
    )

    inputs = {
        "query": Input("b (g r) t d"),
        "key": Input("b g s d"),
        "value": Input("b g s e"),
        "attention_mask": Input("b (g r) t s", kind="bool", optional=True, broadcast=True),  # True = attend
        "bias": Input("b (g r) t s", optional=True, broadcast=True),  # added to the scaled, capped scores
        "sinks": Input("(g r)", optional=True),  # one logit per query head that takes weight and has no value
        # how many keys come before query 0; below 0: how far it stands before key 0
        "query_offset": Input("b", kind="index", upto="s", downto="t", optional=True),
        "key_lengths": Input("b", kind="index", upto="s", optional=True),  # how many keys are there, of s
    }
    output_axes = "b h t e"
    triples = True
    example = {}

    def factor(self, heads: int, width: int) -> float:
        """The number that the scores are multiplied by."""
        named = {"head": width**-0.5, "total": (heads * width) ** -0.5, None: 1.0}
        return named[self.scale] if self.scale in named else float(self.scale)  # type: ignore[index,arg-type]

    def forward(
        self, w: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, bias: Any = None, sinks: Any = None,
        query_offset: Any = None, key_lengths: Any = None,
    ) -> np.ndarray:  # fmt: skip
        h, t, d = query.shape[1:]
        g, s = key.shape[1:3]
        key, value = ops.repeat_heads(key, h // g), ops.repeat_heads(value, h // g)

        scores = ops.matmul(query, key.swapaxes(-1, -2), factor=self.factor(h, d))
        scores = tap("scores", scores, "b h t s")
        if self.softcap is not None:
            scores = tap("capped", self.softcap * ops.tanh(scores / self.softcap), "b h t s")
        if bias is not None:
            scores = tap("biased", scores + bias, "b h t s")
        keep = self.keep(self.positions(t, s, query_offset, key_lengths), s, attention_mask, key_lengths)
        if keep is not None:
            scores = tap("masked", ops.masked(scores, keep, spent=True), "b h t s")
        weights = ops.softmax(scores, sink=None if sinks is None else sinks[:, None, None], spent=True)
        weights = tap("weights", weights, "b h t s")
        weights = ops.dropout(weights, self.dropout, "b h t s")
        return tap("context", ops.matmul(weights, value), "b h t e")

    def positions(self, t: int, s: int, query_offset: Any = None, key_lengths: Any = None) -> Any:
        """Where each query stands among the keys: integers, (t,) or (b, t)."""
        start = 0
        if self.causal == "bottom_right":
            start = s - t if key_lengths is None else key_lengths[:, None] - t
        if query_offset is not None:
            start = start + query_offset[:, None]
        return np.arange(t) + start

    def keep(self, positions: Any, s: int, mask: Any, key_lengths: Any) -> Any:
        """Which key each query may attend to: bool, broadcastable to (b, h, t, s), or None for all."""
        p, j = positions[..., None], np.arange(s)  # (t, 1) or, with a head axis of 1, (b, 1, t, 1)
        p = p if p.ndim == 2 else p[:, None]
        rules = [] if mask is None else [mask]
        if self.causal is not None:
            rules.append(j <= p)
        if self.window_left is not None:
            rules.append(j >= p - self.window_left)
        if self.window_right is not None:
            rules.append(j <= p + self.window_right)
        if key_lengths is not None:
            rules.append(j < key_lengths[:, None, None, None])
        return reduce(np.logical_and, rules) if rules else None
