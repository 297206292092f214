r"""Multi-head attention: several attentions side by side, each over its own projections, merged by a projection.

.. math:: Y = \operatorname{merge}_h\bigl(\operatorname{attention}(Q_h, K_h, V_h)\bigr) W_O + b_O,\qquad
          Q = X_q W_Q + b_Q,\quad K = X_k W_K + b_K,\quad V = X_v W_V + b_V

b batch, t query length, s key length, h heads, g key heads (h = g·r; query head i reads key head i // r),
d head width, e value head width. Between projection and attention, in this order, queries, keys and values may be
clipped, queries and keys normalised (``qk_norm``), over d, or over all heads at once, and turned by their positions
(``rotary``, or any ``rotation``); those of the queries are the ones that ``causal`` and windows go by.

Differences: a head is a contiguous slice of the projected width. ``key_dim`` means the head width in Keras and the
input width in torch, so neither name is used here. ``nn.MultiheadAttention`` reads a bool mask as True = drop,
packs the three projections as (3d, d), and turns a row with nothing to attend to into NaN when it returns weights,
which is its default, and on its native path always. ``keras.layers.MultiHeadAttention`` keeps kernels as (width, h, d)
and gives such a row the mean of all values on its fused path, and zeros once it returns scores or drops weights. Here
it is zeros.

A mask has rank 4, with 1 for an axis along which it is the same: (b, s) and (t, s) cannot be told apart when b = t, nor
(b, t, s) and (h, t, s) when b = h. A padding mask is ``padding[:, None, None, :]``.

Source: Vaswani et al. 2017, section 3.2.2; grouped heads: Ainslie et al. 2023, "GQA"; norm of query and key: Dehghani
et al. 2023, "Scaling Vision Transformers to 22 Billion Parameters"; rotary positions: Su et al. 2021, "RoFormer".

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
from attn_ref.block import Block, Input, Param, Pick, dense, norm, option, same
from attn_ref.blocks.rotary_embedding import RotaryEmbedding
from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref.kv_cache import kept
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class MultiHeadAttention(Block):
    """Self-attention when only ``query`` is given, cross-attention otherwise; ``value`` defaults to ``key``."""

    width: int = option(meaning="width of the query that comes in", above=0, witness=12)
    num_heads: int = option(meaning="query heads", above=0, witness=2)
    num_kv_heads: int | None = option(
        default=None, meaning="key and value heads; None: as many as query heads", above=0, witness=2
    )
    key_width: int | None = option(
        default=None, meaning="width of the key that comes in; None: that of the query", above=0, witness=6
    )
    value_width: int | None = option(
        default=None, meaning="width of the value that comes in; None: that of the key", above=0, witness=6
    )
    output_width: int | None = option(
        default=None, meaning="width that comes out; None: that of the query", above=0, witness=6
    )
    head_width: int | None = option(
        default=None, meaning="width of one head's query and key; None: width // num_heads", above=0, witness=3
    )
    value_head_width: int | None = option(
        default=None, meaning="width of one head's value; None: that of its key", above=0, witness=3
    )
    use_bias: bool = option(default=True, meaning="have the query, key and value projections a bias?", witness=False)
    key_bias: bool = option(
        default=True, meaning="has that of keys one too, which changes no weight?", needs="use_bias", witness=False
    )
    output_bias: bool = option(default=True, meaning="has the output projection one?", witness=False)
    qk_norm: str | None = option(
        default=None, choices=("layer", "rms", "rms_zero_centered"), witness="layer",
        meaning='norm of query and key: None, "layer", "rms", or "rms_zero_centered", whose parameter is γ − 1',
    )  # fmt: skip
    qk_norm_over: str = option(
        default="head", choices=("head", "all"), needs="qk_norm", witness={"qk_norm": "rms", "qk_norm_over": "all"},
        meaning='over what that norm is: "head": one head\'s features; "all": those of all heads, each with its scale',
    )  # fmt: skip
    qk_norm_eps: float = option(
        default=1e-6, meaning="added to the variance (the mean square) in that norm", above=0, needs="qk_norm",
        witness={"qk_norm": "rms", "qk_norm_eps": 0.1},
    )  # fmt: skip
    rotary: str | None = option(
        default=None, choices=("half", "interleaved"), witness="half",
        meaning='do query and key turn with their positions, and which features are pairs: None, "half" or '
        '"interleaved"',
    )  # fmt: skip
    rotary_width: int | None = option(
        default=None, meaning="how many features of a head turn; None: all", above=0, needs="rotary",
        witness={"head_width": 4, "rotary": "half", "rotary_width": 2},
    )  # fmt: skip
    rotary_base: float = option(
        default=10000.0, meaning="the base of the angles' frequencies", above=0, needs="rotary",
        witness={"head_width": 4, "rotary": "half", "rotary_base": 10.0},
    )  # fmt: skip
    rotary_scaling: float = option(
        default=1.0, meaning="what positions are divided by", above=0, needs="rotary",
        witness={"rotary": "interleaved", "rotary_scaling": 2.0},
    )  # fmt: skip
    rotation: Block | None = option(
        default=None, meaning="a block for rotation, in place of rotary and its options; None: those hold",
        role="rotation", witness=RotaryEmbedding(width=2, attention_factor=2.0),
    )  # fmt: skip
    clip: float | None = option(
        default=None, meaning="bound of projected queries, keys and values; None: there is none", above=0, witness=0.25,
        draw=(None, None, None, 0.75),
    )  # fmt: skip
    scale: float | str | None = same(
        ScaledDotProductAttention, "scale", draw=("head", "head", "total", 0.3, None, -0.5),
        meaning='of the scores: "head": 1/√head_width; "total": 1/√(num_heads·head_width); a number; None: no scaling',
    )  # fmt: skip
    softcap: float | None = same(ScaledDotProductAttention, "softcap")
    causal: str | None = same(ScaledDotProductAttention, "causal")
    window_left: int | None = same(ScaledDotProductAttention, "window_left")
    window_right: int | None = same(ScaledDotProductAttention, "window_right")
    use_sinks: bool = option(
        default=False, meaning="has each head a learned logit that takes weight and has no value?", witness=True,
        draw=(False, False, True),
    )  # fmt: skip
    dropout: float = same(
        ScaledDotProductAttention, "dropout", meaning="share of the attention weights that training drops"
    )

    role = "attention"
    inputs = {
        "query": Input("b t {width}"),
        "key": Input("b s {key_in}", default="query"),
        "value": Input("b s {value_in}", default="key"),
        "attention_mask": Input("b {num_heads} t s", kind="bool", optional=True, broadcast=True, ranks=(4,)),
        "bias": Input("b {num_heads} t s", optional=True, broadcast=True, ranks=(4,)),
        # how many keys come before query 0; below 0: how far it stands before key 0
        "query_offset": Input("b", kind="index", upto="s", downto="t", optional=True),
        "key_lengths": Input("b", kind="index", upto="s", optional=True),  # how many keys are there, of s
    }
    output_axes = "b t c"
    example = {"width": 8, "num_heads": 4}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.head_width is not None or self.width % self.num_heads == 0,
            f"num_heads = {self.num_heads} does not divide width = {self.width}; give head_width",
        )
        self.require(
            self.num_heads % self.kv_heads == 0,
            f"num_kv_heads = {self.kv_heads} does not divide num_heads = {self.num_heads}",
        )
        self.require(
            self.rotation is None or self.rotary is None, "rotation takes the place of rotary; give one of them"
        )
        got = getattr(self.rotation, "width", self.d)
        self.require(got == self.d, f"rotation should have width = {self.d}, that of a head; got {self.rotation}")
        _ = self.attention, self.turn  # their options are checked there

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
        return ScaledDotProductAttention.from_options(self.fields())

    @cached_property
    def turn(self) -> Block | None:
        if self.rotary is None:
            return self.rotation
        return RotaryEmbedding(
            width=self.d, rotary_width=self.rotary_width, pairing=self.rotary, base=self.rotary_base,
            scaling=self.rotary_scaling,
        )  # fmt: skip

    def params(self) -> dict[str, Param]:
        sinks = {"sinks": Param((self.num_heads,), "bias")} if self.use_sinks else {}
        return {
            **sinks,
            **dense("query", self.width, self.num_heads * self.d, bias=self.use_bias),
            **dense("key", self.key_in, self.kv_heads * self.d, bias=self.use_bias and self.key_bias),
            **dense("value", self.value_in, self.kv_heads * self.e, bias=self.use_bias),
            **dense("project", self.num_heads * self.e, self.output_width or self.width, bias=self.output_bias),
            **self.head_norm("query_norm", self.num_heads),
            **self.head_norm("key_norm", self.kv_heads),
        }

    def head_norm(self, name: str, heads: int) -> dict[str, Param]:
        width = self.d if self.qk_norm_over == "head" else heads * self.d
        if self.qk_norm == "rms_zero_centered":
            return {f"{name}.scale": Param((width,), "offset", start=0.0)}
        if self.qk_norm == "rms":
            return {f"{name}.scale": Param((width,))}
        return norm(name, width) if self.qk_norm else {}

    @classmethod
    def sample(cls, pick: Pick) -> MultiHeadAttention:
        groups, repeats = pick(1, 2, 3), pick(1, 1, 2, 3)
        qk_norm = pick(None, None, None, "layer", "rms", "rms_zero_centered")
        rotary = pick(None, None, None, "half", "interleaved")
        per_head = pick(1, 4, 5, 16) if rotary is None else pick(2, 4, 8, 16)
        head_width = pick(None, None, 3, 8) if rotary is None else pick(None, None, 6)
        d = head_width or per_head
        use_bias = pick(True, False)
        ramped = RotaryEmbedding(width=d, scaling=4.0, ramp="turns", original_length=40) if d % 2 == 0 else None
        return cls(
            width=groups * repeats * per_head,
            num_heads=groups * repeats,
            num_kv_heads=None if repeats == 1 else groups,
            key_width=pick(None, None, 7, 11),
            value_width=pick(None, None, 5, 13),
            output_width=pick(None, 6, 10),
            head_width=head_width,
            value_head_width=pick(None, None, 2, 7, 16),
            use_bias=use_bias,
            key_bias=pick(True, True, False) if use_bias else True,
            output_bias=pick(True, False),
            qk_norm=qk_norm,
            qk_norm_eps=1e-6 if qk_norm is None else pick(1e-12, 1e-6, 1e-5, 1e-3),
            qk_norm_over=pick("head", "head", "all") if qk_norm else "head",
            rotary=rotary,
            rotation=None if rotary else pick(None, None, ramped),
            rotary_width=None if rotary is None else pick(None, 2),
            rotary_base=10000.0 if rotary is None else pick(10000.0, 100.0),
            rotary_scaling=1.0 if rotary is None else pick(1.0, 4.0),
            **cls.drawn(pick),
        )

    def forward(
        self, w: Any, query: Any, key: Any = None, value: Any = None, attention_mask: Any = None, bias: Any = None,
        query_offset: Any = None, key_lengths: Any = None,
    ) -> np.ndarray:  # fmt: skip
        own = key is None
        key = query if key is None else key
        value = key if value is None else value
        q = self.linear(w, "query", query, self.use_bias)
        k = self.linear(w, "key", key, self.use_bias and self.key_bias)
        v = self.linear(w, "value", value, self.use_bias)
        if self.clip is not None:
            q, k, v = (ops.bounded(x, self.clip) for x in (q, k, v))
        q = ops.split_heads(q, self.num_heads)
        k, v = ops.split_heads(k, self.kv_heads), ops.split_heads(v, self.kv_heads)
        q, k, v = tap("query", q, "b h t d"), tap("key", k, "b g s d"), tap("value", v, "b g s e")
        k, v = kept(k, v) if own else (k, v)
        if self.qk_norm is not None:
            q = tap("normed_query", self.normed(w, "query_norm", q), "b h t d")
            k = tap("normed_key", self.normed(w, "key_norm", k), "b g s d")
        if self.turn is not None:
            positions = self.attention.positions(q.shape[2], k.shape[2], query_offset, key_lengths)
            q, k = self.turn(w["query_rotary"], q, positions), self.turn(w["key_rotary"], k)

        context = self.attention(
            w["attention"], q, k, v, attention_mask=attention_mask, bias=bias,
            sinks=w["sinks"] if self.use_sinks else None, query_offset=query_offset, key_lengths=key_lengths,
        )  # fmt: skip
        merged = tap("merged", ops.merge_heads(context), "b t c")
        return tap("projected", self.linear(w, "project", merged, self.output_bias), "b t c")

    def normed(self, w: Any, name: str, x: Any) -> Any:
        if self.qk_norm_over == "head":
            return self.normalised(w, name, x)
        return ops.split_heads(self.normalised(w, name, ops.merge_heads(x)), x.shape[1])

    def normalised(self, w: Any, name: str, x: Any) -> Any:
        if self.qk_norm == "rms":
            return ops.rms_norm(x, w[f"{name}.scale"], eps=self.qk_norm_eps)
        if self.qk_norm == "rms_zero_centered":
            return ops.rms_norm(x, 1.0 + w[f"{name}.scale"], eps=self.qk_norm_eps)
        return ops.layer_norm(x, w[f"{name}.scale"], w[f"{name}.offset"], eps=self.qk_norm_eps)

    def linear(self, w: Any, name: str, x: Any, bias: bool) -> Any:
        return ops.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"] if bias else None)
