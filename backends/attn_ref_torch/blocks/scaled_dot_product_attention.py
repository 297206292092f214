"""Scaled dot-product attention for torch: the fused call, and the same step by step while taps are listened to."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention as Reference
from attn_ref.tap import probing, tap
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout

#: taken whenever no tap is listened to
FUSED = "torch.nn.functional.scaled_dot_product_attention"


class ScaledDotProductAttention(nn.Module):
    """Mirror of ``attn_ref.ScaledDotProductAttention``, with the same arguments."""

    def __init__(self, *, scale: float | str | None = "head", causal: str | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.scale, self.causal = scale, causal
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
    ) -> Tensor:
        check(self, query=query, key=key, value=value, attention_mask=attention_mask, bias=bias)
        if probing():
            return self.steps(query, key, value, attention_mask, bias)
        top_left = self.causal == "top_left" and attention_mask is None and bias is None
        mask = None if top_left else self.keep(query, key, attention_mask)
        if bias is not None:
            mask = bias if mask is None else torch.where(mask, bias, -torch.inf)
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else torch.atleast_2d(mask),
            dropout_p=self.drop.p if self.training else 0.0,
            is_causal=top_left,
            scale=self.factor(query.shape[1], query.shape[-1]),
            enable_gqa=True if query.shape[1] != key.shape[1] else False,  # noqa: SIM210  (a symbol under compilers)
        )

    def steps(
        self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        scores = query @ key.transpose(-1, -2) * self.factor(query.shape[1], query.shape[-1])
        scores = tap("scores", scores, "b h t s")
        if bias is not None:
            scores = tap("biased", scores + bias, "b h t s")
        keep = self.keep(query, key, attention_mask)
        if keep is None:
            weights = scores.softmax(dim=-1)
        else:  # a row with nothing kept goes through softmax as it is, for finite gradients, and is zeroed after it
            hidden = ~keep & keep.any(dim=-1, keepdim=True)
            weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).masked_fill(~keep, 0.0)
        weights = tap("weights", weights, "b h t s")
        weights = dropout(self.drop, weights, "b h t s")
        return tap("context", weights @ value, "b h t e")

    def keep(self, query: Tensor, key: Tensor, attention_mask: Tensor | None) -> Tensor | None:
        if self.causal is None:
            return attention_mask
        t, s = query.shape[2], key.shape[2]
        diagonal = s - t if self.causal == "bottom_right" else 0
        causal = torch.ones(t, s, dtype=torch.bool, device=query.device).tril(diagonal)
        return causal if attention_mask is None else causal & attention_mask
