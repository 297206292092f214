"""Multi-head attention for torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.block import Block
from attn_ref.blocks.multi_head_attention import MultiHeadAttention as Reference
from attn_ref.kv_cache import kept
from attn_ref.tap import tap
from attn_ref_torch.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror, mirrored


class MultiHeadAttention(Mirror):
    """Mirror of ``attn_ref.MultiHeadAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        key_width: int | None = None,
        value_width: int | None = None,
        output_width: int | None = None,
        head_width: int | None = None,
        value_head_width: int | None = None,
        use_bias: bool = True,
        key_bias: bool = True,
        output_bias: bool = True,
        qk_norm: str | None = None,
        qk_norm_over: str = "head",
        qk_norm_eps: float = 1e-6,
        rotary: str | None = None,
        rotary_width: int | None = None,
        rotary_base: float = 10000.0,
        rotary_scaling: float = 1.0,
        rotation: Block | None = None,
        clip: float | None = None,
        scale: float | str | None = "head",
        softcap: float | None = None,
        causal: str | None = None,
        window_left: int | None = None,
        window_right: int | None = None,
        use_sinks: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads or num_heads
        d = head_width or width // num_heads
        e = value_head_width or d
        key_width = key_width or width
        self.query = nn.Linear(width, num_heads * d, bias=use_bias)
        self.key = nn.Linear(key_width, self.num_kv_heads * d, bias=use_bias and key_bias)
        self.value = nn.Linear(value_width or key_width, self.num_kv_heads * e, bias=use_bias)
        self.project = nn.Linear(num_heads * e, output_width or width, bias=output_bias)
        self.clip, self.qk_norm, self.over_all = clip, qk_norm, qk_norm_over == "all"
        widths = (num_heads * d, self.num_kv_heads * d) if self.over_all else (d, d)
        norms: dict[str, type[nn.LayerNorm] | type[nn.RMSNorm]] = {"layer": nn.LayerNorm}
        kind = norms.get(qk_norm or "", nn.RMSNorm)
        self.query_norm = kind(widths[0], eps=qk_norm_eps) if qk_norm else None
        self.key_norm = kind(widths[1], eps=qk_norm_eps) if qk_norm else None
        if qk_norm == "rms_zero_centered":
            for made in (self.query_norm, self.key_norm):
                assert made is not None
                nn.init.zeros_(made.weight)
        self.query_rotary: Any = mirrored(self.block.turn)
        self.key_rotary: Any = mirrored(self.block.turn)
        self.sinks = nn.Parameter(torch.zeros(num_heads)) if use_sinks else None
        self.attention = ScaledDotProductAttention(**self.block.attention.fields())

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        attention_mask: Tensor | None = None,
        bias: Tensor | None = None,
        query_offset: Tensor | None = None,
        key_lengths: Tensor | None = None,
    ) -> Tensor:
        check(
            self, query=query, key=key, value=value, attention_mask=attention_mask, bias=bias,
            query_offset=query_offset, key_lengths=key_lengths,
        )  # fmt: skip
        own = key is None
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = self.query(query), self.key(key), self.value(value)
        if self.clip is not None:
            q, k, v = (x.clamp(-self.clip, self.clip) for x in (q, k, v))
        q = q.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k = k.unflatten(-1, (self.num_kv_heads, -1)).transpose(1, 2)
        v = v.unflatten(-1, (self.num_kv_heads, -1)).transpose(1, 2)
        q, k, v = tap("query", q, "b h t d"), tap("key", k, "b g s d"), tap("value", v, "b g s e")
        k, v = kept(k, v) if own else (k, v)
        if self.query_norm is not None and self.key_norm is not None:
            q = tap("normed_query", self.normed(self.query_norm, q), "b h t d")
            k = tap("normed_key", self.normed(self.key_norm, k), "b g s d")
        if self.query_rotary is not None and self.key_rotary is not None:
            positions = self.attention.positions(q.shape[2], k.shape[2], query_offset, key_lengths, q)
            q, k = self.query_rotary(q, positions), self.key_rotary(k)

        context = self.attention(
            q, k, v, attention_mask=attention_mask, bias=bias, sinks=self.sinks,
            query_offset=query_offset, key_lengths=key_lengths,
        )  # fmt: skip
        merged = tap("merged", context.transpose(1, 2).flatten(2), "b t c")
        return tap("projected", self.project(merged), "b t c")

    def normed(self, norm: nn.LayerNorm | nn.RMSNorm, x: Tensor) -> Tensor:
        heads = x.shape[1]
        x = x.transpose(1, 2).flatten(2) if self.over_all else x
        if self.qk_norm == "rms_zero_centered":
            x = F.rms_norm(x, norm.normalized_shape, norm.weight + 1, norm.eps)
        else:
            x = norm(x)
        return x.unflatten(-1, (heads, -1)).transpose(1, 2) if self.over_all else x
