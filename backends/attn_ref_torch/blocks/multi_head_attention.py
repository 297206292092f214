"""Multi-head attention for torch."""

from __future__ import annotations

from torch import Tensor, nn

from attn_ref.blocks.multi_head_attention import MultiHeadAttention as Reference
from attn_ref.tap import tap
from attn_ref_torch.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref_torch.checks import check


class MultiHeadAttention(nn.Module):
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
        output_bias: bool = True,
        scale: float | str | None = "head",
        causal: str | None = None,
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
        self.key = nn.Linear(key_width, self.num_kv_heads * d, bias=use_bias)
        self.value = nn.Linear(value_width or key_width, self.num_kv_heads * e, bias=use_bias)
        self.project = nn.Linear(num_heads * e, output_width or width, bias=output_bias)
        self.attention = ScaledDotProductAttention(scale=scale, causal=causal, dropout=dropout)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        attention_mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        check(self, query=query, key=key, value=value, attention_mask=attention_mask, bias=bias)
        key = query if key is None else key
        value = key if value is None else value
        q = self.query(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k = self.key(key).unflatten(-1, (self.num_kv_heads, -1)).transpose(1, 2)
        v = self.value(value).unflatten(-1, (self.num_kv_heads, -1)).transpose(1, 2)
        q, k, v = tap("query", q, "b h t d"), tap("key", k, "b g s d"), tap("value", v, "b g s e")

        context = self.attention(q, k, v, attention_mask=attention_mask, bias=bias)
        merged = tap("merged", context.transpose(1, 2).flatten(2), "b t c")
        return tap("projected", self.project(merged), "b t c")
