"""Scaled dot-product attention for torch: the fused call, and the same step by step while taps are listened to."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention as Reference
from attn_ref.tap import probing, tap
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout
from attn_ref_torch.mirror import Mirror

#: taken whenever no tap is listened to; it knows neither softcap nor sinks
FUSED = "torch.nn.functional.scaled_dot_product_attention"


class ScaledDotProductAttention(Mirror):
    """Mirror of ``attn_ref.ScaledDotProductAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        scale: float | str | None = "head",
        softcap: float | None = None,
        causal: str | None = None,
        window_left: int | None = None,
        window_right: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.scale, self.softcap, self.causal = scale, softcap, causal
        self.window_left, self.window_right = window_left, window_right
        self.drop = nn.Dropout(dropout)

    def factor(self, heads: int, width: int) -> float:
        if self.scale == "head":
            return width**-0.5
        if self.scale == "total":
            return (heads * width) ** -0.5
        return 1.0 if self.scale is None else float(self.scale)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        bias: Tensor | None = None,
        sinks: Tensor | None = None,
        query_offset: Tensor | None = None,
        key_lengths: Tensor | None = None,
    ) -> Tensor:
        check(
            self, query=query, key=key, value=value, attention_mask=attention_mask, bias=bias, sinks=sinks,
            query_offset=query_offset, key_lengths=key_lengths,
        )  # fmt: skip
        windowed = self.window_left is not None or self.window_right is not None
        given = attention_mask is not None or query_offset is not None or key_lengths is not None
        scale = self.factor(query.shape[1], query.shape[-1])
        # with a scale of 0 or below torch's own causal mask gives NaN
        top_left = self.causal == "top_left" and bias is None and not windowed and not given and scale > 0
        if probing() or self.softcap is not None or sinks is not None:
            mask = self.keep(query, key, attention_mask, query_offset, key_lengths)
            return self.steps(query, key, value, mask, bias, sinks)
        mask = None if top_left else self.keep(query, key, attention_mask, query_offset, key_lengths)
        if bias is not None:
            mask = bias if mask is None else torch.where(mask, bias, -torch.inf)
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else torch.atleast_2d(mask),
            dropout_p=self.drop.p if self.training else 0.0,
            is_causal=top_left,
            scale=scale,
            enable_gqa=True if query.shape[1] != key.shape[1] else False,  # noqa: SIM210  (a symbol under compilers)
        )

    def steps(
        self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None, bias: Tensor | None, sinks: Tensor | None
    ) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        scores = query @ key.transpose(-1, -2) * self.factor(query.shape[1], query.shape[-1])
        scores = tap("scores", scores, "b h t s")
        if self.softcap is not None:
            scores = tap("capped", torch.tanh(scores / self.softcap) * self.softcap, "b h t s")
        if bias is not None:
            scores = tap("biased", scores + bias, "b h t s")
        if keep is not None:
            scores = tap("masked", scores.masked_fill(~keep, -torch.inf), "b h t s")
        weights = tap("weights", self.softmax(scores, keep is not None, sinks), "b h t s")
        weights = dropout(self.drop, weights, "b h t s")
        return tap("context", weights @ value, "b h t e")

    def softmax(self, scores: Tensor, masked: bool, sinks: Tensor | None) -> Tensor:
        if sinks is not None:  # one more key, which is never hidden and whose weight goes nowhere
            column = sinks[:, None, None].expand(*scores.shape[:-1], 1)
            return torch.cat([scores, column], dim=-1).softmax(dim=-1)[..., :-1]
        if not masked:
            return scores.softmax(dim=-1)
        # a row of −∞ alone goes through softmax as zeros, for finite gradients, and is zeroed after it
        nothing = (scores == -torch.inf).all(dim=-1, keepdim=True)
        return scores.masked_fill(nothing, 0.0).softmax(dim=-1).masked_fill(nothing, 0.0)

    def positions(
        self, t: int, s: int, query_offset: Tensor | None, key_lengths: Tensor | None, like: Tensor
    ) -> Tensor:
        """Where each query stands among the keys: (1, t) or (b, t)."""
        positions = torch.arange(t, device=like.device)[None]
        if self.causal == "bottom_right":
            positions = positions + ((s if key_lengths is None else key_lengths[:, None]) - t)
        return positions if query_offset is None else positions + query_offset[:, None]

    def keep(
        self,
        query: Tensor,
        key: Tensor,
        attention_mask: Tensor | None,
        query_offset: Tensor | None,
        key_lengths: Tensor | None,
    ) -> Tensor | None:
        if self.causal is None and self.window_left is None and self.window_right is None and key_lengths is None:
            return attention_mask
        t, s = query.shape[2], key.shape[2]
        at = torch.arange(s, device=query.device)
        ahead = (at - self.positions(t, s, query_offset, key_lengths, query)[..., None])[:, None]
        rules = [] if attention_mask is None else [attention_mask]
        if self.causal is not None:
            rules.append(ahead <= 0)
        if self.window_left is not None:
            rules.append(ahead >= -self.window_left)
        if self.window_right is not None:
            rules.append(ahead <= self.window_right)
        if key_lengths is not None:
            rules.append(at < key_lengths[:, None, None, None])
        return functools.reduce(torch.logical_and, rules) if rules else None
