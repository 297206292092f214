r"""Multi-head attention: several attentions side by side, each over its own projections, merged by a projection.

.. math:: Y = \operatorname{merge}_h\bigl(\operatorname{attention}(Q_h, K_h, V_h)\bigr) W_O + b_O,\qquad
          Q = X_q W_Q + b_Q,\quad K = X_k W_K + b_K,\quad V = X_v W_V + b_V

b batch, t query length, s key length, h heads, g key heads (h = g·r; query head i reads key head i // r),
d head width, e value head width.

Differences: a head is a contiguous slice of the projected width. ``key_dim`` means the head width in Keras and the
input width in torch, so neither name is used here. ``nn.MultiheadAttention`` reads a bool mask as True = drop,
packs the three projections as (3d, d), and turns a row with nothing to attend to into NaN when it returns weights,
which is its default, and on its native path always. ``keras.layers.MultiHeadAttention`` keeps kernels as (width, h, d)
and gives such a row the mean of all values on its fused path, and zeros once it returns scores or drops weights. Here
it is zeros.

A mask has rank 4, with 1 for an axis along which it is the same: (b, s) and (t, s) cannot be told apart when b = t, nor
(b, t, s) and (h, t, s) when b = h. A padding mask is ``padding[:, None, None, :]``.

Source: Vaswani et al. 2017, section 3.2.2; grouped heads: Ainslie et al. 2023, "GQA".

>>> import attn_ref as ar, numpy as np
>>> block = ar.MultiHeadAttention(width=8, num_heads=2)
>>> block(block.init(), np.ones((1, 3, 8))).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, dense, nest
from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class MultiHeadAttention(Block):
    """Self-attention when only ``query`` is given, cross-attention otherwise; ``value`` defaults to ``key``."""

    #: width of the query that comes in
    width: int
    #: query heads
    num_heads: int
    #: key and value heads; None: as many as query heads
    num_kv_heads: int | None = None
    #: width of the key that comes in; None: that of the query
    key_width: int | None = None
    #: width of the value that comes in; None: that of the key
    value_width: int | None = None
    #: width that comes out; None: that of the query
    output_width: int | None = None
    #: width of one head's query and key; None: width // num_heads
    head_width: int | None = None
    #: width of one head's value; None: that of its key
    value_head_width: int | None = None
    #: have the query, key and value projections a bias?
    use_bias: bool = True
    #: has the output projection one?
    output_bias: bool = True
    #: of the scores: "head": 1/√head_width; "total": 1/√(num_heads·head_width); a number; None: no scaling
    scale: float | str | None = "head"
    #: None; "top_left": query i attends keys ≤ i; "bottom_right": keys ≤ i + s − t
    causal: str | None = None
    #: share of the attention weights that training drops
    dropout: float = 0.0

    inputs = {
        "query": Input("b t {width}"),
        "key": Input("b s {key_in}", default="query"),
        "value": Input("b s {value_in}", default="key"),
        "attention_mask": Input("b {num_heads} t s", kind="bool", optional=True, broadcast=True, ranks=(4,)),
        "bias": Input("b {num_heads} t s", optional=True, broadcast=True, ranks=(4,)),
    }
    output_axes = "b t c"
    example = {"width": 8, "num_heads": 4}
    witnesses = {
        "width": 12, "num_heads": 2, "num_kv_heads": 2, "key_width": 6, "value_width": 6, "output_width": 6,
        "head_width": 3, "value_head_width": 3, "use_bias": False, "output_bias": False, "scale": "total",
        "causal": "top_left", "dropout": 0.5,
    }  # fmt: skip

    def __post_init__(self) -> None:
        self.require_positive("width", "num_heads")
        self.require_bool("use_bias", "output_bias")
        optional = ("num_kv_heads", "key_width", "value_width", "output_width", "head_width", "value_head_width")
        self.require_positive(*(name for name in optional if getattr(self, name) is not None))
        self.require(
            self.head_width is not None or self.width % self.num_heads == 0,
            f"num_heads = {self.num_heads} does not divide width = {self.width}; give head_width",
        )
        self.require(
            self.num_heads % self.kv_heads == 0,
            f"num_kv_heads = {self.kv_heads} does not divide num_heads = {self.num_heads}",
        )
        _ = self.attention  # its options are checked there

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @property
    def key_in(self) -> int:
        return self.key_width or self.width

    @property
    def value_in(self) -> int:
        return self.value_width or self.key_in

    @property
    def d(self) -> int:
        return self.head_width or self.width // self.num_heads

    @property
    def e(self) -> int:
        return self.value_head_width or self.d

    @cached_property
    def attention(self) -> ScaledDotProductAttention:
        return ScaledDotProductAttention(scale=self.scale, causal=self.causal, dropout=self.dropout)

    def params(self) -> dict[str, Param]:
        return {
            **dense("query", self.width, self.num_heads * self.d, bias=self.use_bias),
            **dense("key", self.key_in, self.kv_heads * self.d, bias=self.use_bias),
            **dense("value", self.value_in, self.kv_heads * self.e, bias=self.use_bias),
            **dense("project", self.num_heads * self.e, self.output_width or self.width, bias=self.output_bias),
            **nest("attention", self.attention),
        }

    @classmethod
    def sample(cls, pick: Pick) -> MultiHeadAttention:
        groups, repeats = pick(1, 2, 3), pick(1, 1, 2, 3)
        return cls(
            width=groups * repeats * pick(1, 4, 5, 16),
            num_heads=groups * repeats,
            num_kv_heads=None if repeats == 1 else groups,
            key_width=pick(None, None, 7, 11),
            value_width=pick(None, None, 5, 13),
            output_width=pick(None, 6, 10),
            head_width=pick(None, None, 3, 8),
            value_head_width=pick(None, None, 2, 7, 16),
            use_bias=pick(True, False),
            output_bias=pick(True, False),
            scale=pick("head", "head", "total", 0.3, None, -0.5),
            causal=pick(None, None, "top_left", "bottom_right"),
            dropout=pick(0.0, 0.25),
        )

    def forward(
        self, w: Any, query: Any, key: Any = None, value: Any = None, attention_mask: Any = None, bias: Any = None
    ) -> np.ndarray:
        key = query if key is None else key
        value = key if value is None else value
        q = ops.split_heads(self.linear(w, "query", query, self.use_bias), self.num_heads)
        k = ops.split_heads(self.linear(w, "key", key, self.use_bias), self.kv_heads)
        v = ops.split_heads(self.linear(w, "value", value, self.use_bias), self.kv_heads)
        q, k, v = tap("query", q, "b h t d"), tap("key", k, "b g s d"), tap("value", v, "b g s e")

        context = self.attention(w["attention"], q, k, v, attention_mask=attention_mask, bias=bias)
        merged = tap("merged", ops.merge_heads(context), "b t c")
        return tap("projected", self.linear(w, "project", merged, self.output_bias), "b t c")

    def linear(self, w: Any, name: str, x: Any, bias: bool) -> Any:
        return ops.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"] if bias else None)
