r"""Transformer layer: any attention and any feed-forward network, each with a residual, and any norm in any place.

.. math:: \text{before: } S(X) = s X + r\, \gamma \odot f(N(X)) \qquad
          \text{after: } S(X) = N(s X + r\, \gamma \odot f(X))

.. math:: \text{inside: } S(X) = s X + r\, \gamma \odot N(f(X)) \qquad
          \text{around: } S(X) = s X + r\, \gamma \odot N'(f(N(X)))

.. math:: Y = S_F(S_C(S_A(X))) \qquad
          \text{parallel: } Y = s X + r\, \gamma_A \odot A(N_A(X)) + r\, \gamma_F \odot F(N_F(X))

b batch, t length, c width, s memory length, f any of the sub-layers: A the attention, C the cross-attention to the
memory, where there is one, F the feed-forward network. N are the norms, γ learned factors (layer scale). Training drops
of every f(…) before anything else is done to it.

Differences: post-norm ("after") is the transformer of the paper and BERT, pre-norm ("before") GPT-2, ViT, T5 and Llama,
"inside" Swin v2 and OLMo 2, "around" Gemma 2. GPT-NeoX is parallel with two norms; GPT-J, Falcon 7B and PaLM with one.
DeepNet sets ``skip_scale``, Granite ``residual_scale``. ``EncoderLayer`` is the plain case under names of its own.

Source: Vaswani et al. 2017, section 3.1; before: Xiong et al. 2020; inside: Liu et al. 2021, "Swin Transformer V2";
around: Gemma Team 2024, "Gemma 2"; parallel: Wang and Komatsuzaki 2021, "GPT-J-6B"; layer scale: Touvron et al. 2021,
"Going deeper with Image Transformers"; skip scale: Wang et al. 2022, "DeepNet".

>>> import attn_ref as ar, numpy as np
>>> block = ar.TransformerLayer(
...     width=8, attention=ar.MultiHeadAttention(width=8, num_heads=2, causal="top_left", rotary="half"),
...     feed_forward=ar.GatedFeedForward(width=8, hidden_width=24), norm=ar.RMSNorm(width=8),
... )
>>> block(block.init(), np.ones((1, 3, 8))).shape
(1, 3, 8)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, nest, option
from attn_ref.blocks.feed_forward import FeedForward
from attn_ref.blocks.gated_feed_forward import GatedFeedForward
from attn_ref.blocks.layer_norm import LayerNorm
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.blocks.rms_norm import RMSNorm
from attn_ref.tap import tap

#: sub-layer -> the tap of what is there after it
SUMS = {"attention": "attended", "cross_attention": "crossed", "feed_forward": "fed"}


@dataclass(frozen=True, kw_only=True)
class TransformerLayer(Block):
    """Attention, cross-attention if there is one, and feed-forward, with residuals and norms."""

    width: int = option(
        meaning="width that comes in and out", above=0,
        witness={
            "width": 6, "attention": MultiHeadAttention(width=6, num_heads=2),
            "feed_forward": FeedForward(width=6, hidden_width=12), "norm": LayerNorm(width=6),
        },
    )  # fmt: skip
    attention: Block = option(
        meaning="a block for attention: how tokens attend to each other", role="attention",
        witness=MultiHeadAttention(width=8, num_heads=4, causal="top_left"),
    )  # fmt: skip
    cross_attention: Block | None = option(
        default=None, meaning="a block for attention: how they attend to the memory; None: not at all",
        role="attention", witness=MultiHeadAttention(width=8, num_heads=4, key_width=6),
    )  # fmt: skip
    feed_forward: Block = option(
        meaning="a block for feed-forward: what becomes of every token", role="feed-forward",
        witness=GatedFeedForward(width=8, hidden_width=12),
    )  # fmt: skip
    norm: Block | None = option(
        default=None, meaning="a block for norm, of which each place has its own; None: there are no norms",
        role="norm", witness=None,
    )  # fmt: skip
    norm_place: str = option(
        default="before", choices=("before", "after", "inside", "around"), witness="after",
        meaning='where norms are: "before" the sub-layer, "after" the residual, "inside": after the sub-layer, '
        '"around": before and after the sub-layer',
    )  # fmt: skip
    attention_normed: bool = option(
        default=True, meaning="has attention norms of its own, as the others have?", needs="norm", witness=False
    )
    parallel: str | None = option(
        default=None, choices=("own", "shared"), witness="own",
        meaning='do attention and feed-forward read the same: None: one after the other; "own": yes, through a norm '
        'each; "shared": yes, through one norm',
    )  # fmt: skip
    skip_scale: float = option(
        default=1.0, meaning="what the residual is multiplied by", above=0, witness=2.0, draw=(1.0, 1.0, 1.5)
    )
    residual_scale: float = option(
        default=1.0, meaning="what every sub-layer's result is multiplied by", above=0, witness=0.5,
        draw=(1.0, 1.0, 0.25),
    )  # fmt: skip
    layer_scale: float | None = option(
        default=None, above=0, witness=0.1, draw=(None, None, 0.1),
        meaning="where learned factors of every sub-layer's result start, one a feature; None: there are none",
    )  # fmt: skip
    dropout: float = option(
        default=0.0, meaning="share that training drops of every sub-layer's result", least=0, below=1, witness=0.5,
        draw=(0.0, 0.25),
    )  # fmt: skip

    role = "layer"
    inputs = {
        "x": Input("b t {width}"),
        "memory": Input("b s {memory_width}", needs="cross_attention"),
        "attention_mask": Input("b {num_heads} t t", kind="bool", optional=True, broadcast=True, ranks=(4,)),
        "bias": Input("b {num_heads} t t", optional=True, broadcast=True, ranks=(4,)),
        "memory_mask": Input(
            "b {memory_heads} t s", kind="bool", optional=True, broadcast=True, ranks=(4,), needs="cross_attention"
        ),
    }
    output_axes = "b t c"
    example = {
        "width": 8, "attention": MultiHeadAttention(width=8, num_heads=4),
        "feed_forward": FeedForward(width=8, hidden_width=12), "norm": LayerNorm(width=8),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("attention", "cross_attention", "feed_forward", "norm"):
            part = getattr(self, name)
            got = () if part is None else widths(part)
            self.require(
                all(size == self.width for size in got), "{} should have width = {}; got {}", name, self.width, part
            )
        own = self.attention
        self.require(
            {getattr(own, "key_in", self.width), getattr(own, "value_in", self.width)} == {self.width},
            "attention should read keys and values of width = {}; got {}",
            self.width,
            own,
        )
        far = self.cross_attention
        self.require(
            far is None or getattr(far, "key_in", 0) == getattr(far, "value_in", 0),
            "cross_attention should read keys and values of one width, that of the memory; got {}",
            far,
        )
        self.require(self.norm is not None or self.norm_place == "before", "norm_place needs norm, which is None")
        self.require(
            self.parallel is None or (self.norm_place == "before" and far is None),
            "parallel takes norm_place = 'before' and no cross_attention; "
            "got norm_place = {!r} and cross_attention = {}",
            self.norm_place,
            far,
        )
        self.require(
            self.parallel != "shared" or self.norm is not None, "parallel = 'shared' needs norm, which is None"
        )
        self.require(
            self.parallel != "shared" or self.attention_normed,
            "parallel = 'shared' is through the norm of attention, which attention_normed = False leaves out",
        )

    @property
    def num_heads(self) -> int:
        return int(getattr(self.attention, "num_heads", 1))

    @property
    def memory_heads(self) -> int:
        return int(getattr(self.cross_attention, "num_heads", 1))

    @property
    def memory_width(self) -> int:
        return int(getattr(self.cross_attention, "key_in", self.width))

    @property
    def sub_layers(self) -> dict[str, Block]:
        """The sub-layers by name, in order."""
        return {name: part for name in SUMS if (part := getattr(self, name)) is not None}

    @property
    def norms(self) -> list[str]:
        """The names of the norms."""
        if self.norm is None:
            return []
        places = ("norm", "post_norm") if self.norm_place == "around" else ("norm",)
        named = ["attention"] if self.parallel == "shared" else list(self.sub_layers)
        named = named if self.attention_normed else [name for name in named if name != "attention"]
        return [f"{name}_{place}" for name in named for place in places]

    def params(self) -> dict[str, Param]:
        parts = {**self.sub_layers, **{name: self.norm for name in self.norms if self.norm}}
        factor = Param((self.width,), "scale", start=self.layer_scale)
        return {
            **({} if self.layer_scale is None else {f"{name}_scale": factor for name in self.sub_layers}),
            **{full: param for name, part in parts.items() for full, param in nest(name, part).items()},
        }

    @classmethod
    def sample(cls, pick: Pick) -> TransformerLayer:
        heads = pick(2, 1, 3)
        width = heads * pick(4, 6)
        plain = MultiHeadAttention(width=width, num_heads=heads)
        attention = pick(
            plain, plain, replace(plain, causal="top_left"), replace(plain, rotary="half", use_bias=False),
            replace(plain, num_kv_heads=1, qk_norm="rms"), replace(plain, dropout=0.25),
        )  # fmt: skip
        feed_forward = pick(
            FeedForward(width=width, hidden_width=7), GatedFeedForward(width=width, hidden_width=7),
            FeedForward(width=width, hidden_width=5, activation="gelu", dropout=0.25),
        )  # fmt: skip
        norm = pick(
            LayerNorm(width=width), RMSNorm(width=width), RMSNorm(width=width, zero_centered=True), None,
            LayerNorm(width=width, use_offset=False, eps=1e-3),
        )  # fmt: skip
        parallel = pick(None, None, None, "own", "shared" if norm else "own")
        free = parallel is None
        cross = pick(None, None, plain, replace(plain, key_width=5)) if free else None
        return cls(
            width=width, attention=attention, cross_attention=cross, feed_forward=feed_forward, norm=norm,
            norm_place=pick("before", "after", "inside", "around") if norm and free else "before", parallel=parallel,
            attention_normed=pick(True, True, False) if norm and parallel != "shared" else True,
            **cls.drawn(pick),
        )  # fmt: skip

    def forward(
        self, w: Any, x: Any, memory: Any = None, attention_mask: Any = None, bias: Any = None, memory_mask: Any = None
    ) -> np.ndarray:
        def attend(x: Any) -> Any:
            return self.attention(w["attention"], x, attention_mask=attention_mask, bias=bias)

        def look(x: Any) -> Any:
            assert self.cross_attention is not None
            return self.cross_attention(w["cross_attention"], x, memory, attention_mask=memory_mask)

        def feed(x: Any) -> Any:
            return self.feed_forward(w["feed_forward"], x)

        if self.parallel is not None:
            read = self.normed(w, "attention_norm", x)
            own = self.normed(w, "feed_forward_norm", x) if self.parallel == "own" else read
            attended = self.result(w, "attention", attend(read))
            return tap("fed", self.skip_scale * x + attended + self.result(w, "feed_forward", feed(own)), "b t c")
        for name, compute in {"attention": attend, "cross_attention": look, "feed_forward": feed}.items():
            if name in self.sub_layers:
                x = self.added(w, name, compute, x)
        return x

    def added(self, w: Any, name: str, compute: Callable[[Any], Any], x: Any) -> Any:
        """S(X): a sub-layer with its residual and norms."""
        place = self.norm_place
        y = compute(self.normed(w, f"{name}_norm", x) if place in ("before", "around") else x)
        y = tap(SUMS[name], self.skip_scale * x + self.result(w, name, y), "b t c")
        return self.normed(w, f"{name}_norm", y) if place == "after" else y

    def result(self, w: Any, name: str, y: Any) -> Any:
        """What of a sub-layer's result is added to the residual."""
        y = ops.dropout(y, self.dropout, "b t c", f"keep_{name}")
        if self.norm_place in ("inside", "around"):
            y = self.normed(w, f"{name}_norm" if self.norm_place == "inside" else f"{name}_post_norm", y)
        y = y if self.layer_scale is None else w[f"{name}_scale"] * y
        return self.residual_scale * y

    def normed(self, w: Any, name: str, x: Any) -> Any:
        part = self.norm
        return x if part is None or name not in self.norms else part(w[name], x)


def widths(part: Block) -> tuple[Any, ...]:
    """The widths that a part takes and gives."""
    return getattr(part, "width", None), getattr(part, "output_width", None) or getattr(part, "width", None)
