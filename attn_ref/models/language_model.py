r"""Language model of the GPT family: token embeddings, layers, a norm, and a logit for every token that may come next.

.. math:: X_0 = N_0(s\,T[\text{token}] + P[p_0 \dots p_{t-1}]),\qquad X_{i+1} = \operatorname{layer}_i(X_i, B),\qquad
          Y = \operatorname{cap}(N(X_L)\, W)

b batch, t length, c width, v tokens of the vocabulary, h heads. T and P are tables, p positions, B a bias for the
scores from positions alone; W is Tᵀ if the head is tied. Norms, P, B and the head are there if the options say so;
without a head the normed X come out. ``padding_mask`` (b, t) is True at real tokens; padding is never attended to, and
does not shift positions.

Every layer is ``layer``, or where ``pattern`` has an "o" in its place ``other_layer``. What a token may see is said by
the attention in them: ``causal="bottom_right"`` for a decoder, which ``attn_ref.Decoding`` runs step by step.

Differences: GPT-2 has learned positions, BLOOM a linear bias and a norm of the embeddings; Llama, Mistral and Qwen
turn queries and keys, and have no P. Gemma multiplies embeddings by √c, which Hugging Face rounds to the model's dtype.
Gemma 2 and GPT-OSS alternate windows and full attention, "ol"; in Gemma 3 every sixth layer is full, "oooool". Llama
has a head of its own; GPT-2, Gemma and BLOOM have a tied one. ModernBERT is such a model without a head, whose queries
see keys on both sides; its embeddings are normed, and the first layer's attention has no norm of its own.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; Touvron et al. 2023, "LLaMA"; soft
capping, alternation: Gemma Team 2024, "Gemma 2"; tied head: Press and Wolf 2017, "Using the Output Embedding".

>>> import attn_ref as ar, numpy as np
>>> block = ar.LanguageModel(**ar.LanguageModel.example)
>>> block(block.init(), np.array([[1, 2, 3]])).shape
(1, 3, 11)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, nest, option, same
from attn_ref.blocks.feed_forward import FeedForward
from attn_ref.blocks.gated_feed_forward import GatedFeedForward
from attn_ref.blocks.layer_norm import LayerNorm
from attn_ref.blocks.linear_position_bias import LinearPositionBias
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.blocks.rms_norm import RMSNorm
from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref.blocks.transformer_layer import TransformerLayer, widths
from attn_ref.kv_cache import past, seen
from attn_ref.ops.positions import in_precision
from attn_ref.tap import tap


def llama(width: int = 8, hidden_width: int = 12) -> TransformerLayer:
    """A layer as Llama has them, of two heads."""
    return TransformerLayer(
        width=width, norm=RMSNorm(width=width), feed_forward=GatedFeedForward(width=width, hidden_width=hidden_width),
        attention=MultiHeadAttention(
            width=width, num_heads=2, causal="bottom_right", rotary="half", use_bias=False, output_bias=False
        ),
    )  # fmt: skip


def gpt(width: int = 8, hidden_width: int = 12) -> TransformerLayer:
    """A layer as GPT-2 has them, of two heads."""
    return TransformerLayer(
        width=width, norm=LayerNorm(width=width),
        feed_forward=FeedForward(width=width, hidden_width=hidden_width, activation="gelu_tanh"),
        attention=MultiHeadAttention(width=width, num_heads=2, causal="bottom_right"),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LanguageModel(Block):
    """Embeddings, layers, norm, head."""

    vocab_size: int = option(meaning="how many tokens there are", above=0, witness=13)
    width: int = option(
        meaning="width of every token", above=0,
        witness={"width": 12, "final_norm": RMSNorm(width=12), "layer": llama(12)},
    )  # fmt: skip
    num_layers: int = option(meaning="layers", above=0, witness=1, draw=(1, 2, 3))
    layer: Block = option(meaning="a block for layer: what every layer is", role="layer", witness=gpt())
    other_layer: Block | None = option(
        default=None, meaning='a block for layer: what those are that are "o" in pattern', role="layer",
        witness={"other_layer": gpt(), "pattern": "o"},
    )  # fmt: skip
    pattern: str = option(
        default="l", witness={"other_layer": gpt(), "pattern": "lo"},
        meaning='which layer is which, from the first on and then from the start again: "l" for layer, "o" for '
        "other_layer",
    )  # fmt: skip
    max_length: int | None = option(
        default=None, meaning="how many learned positions there are; None: there are none", above=0, witness=9,
        draw=(None, None, 9),
    )  # fmt: skip
    position_bias: Block | None = option(
        default=None, meaning="a block for position bias, which every layer adds to its scores; None: nothing is added",
        role="position bias", witness=LinearPositionBias(num_heads=2),
    )  # fmt: skip
    embedding_scale: float = option(
        default=1.0, meaning="what token embeddings are multiplied by", above=0, witness=2.0, draw=(1.0, 1.0, 2.5)
    )
    embedding_norm: Block | None = option(
        default=None, meaning="a block for norm, of the embeddings; None: there is none", role="norm",
        witness=LayerNorm(width=8),
    )  # fmt: skip
    first_norm: bool = option(
        default=True, needs="embedding_norm", witness={"embedding_norm": LayerNorm(width=8), "first_norm": False},
        meaning="has the attention of the first layer a norm, though the embeddings are normed already?",
    )  # fmt: skip
    final_norm: Block | None = option(
        default=None, meaning="a block for norm, behind the last layer; None: there is none", role="norm", witness=None
    )
    head: str | None = option(
        default="own", choices=("own", "tied"), witness=None, draw=("own", "own", "tied", None),
        meaning='what gives the logits: "own": a kernel; "tied": the table of tokens; None: nothing does',
    )  # fmt: skip
    softcap: float | None = same(
        ScaledDotProductAttention, "softcap", meaning="the bound c of c·tanh(logits / c); None: no bound", needs="head",
        draw=(),
    )  # fmt: skip
    dropout: float = option(
        default=0.0, meaning="share that training drops of the embeddings", least=0, below=1, witness=0.5,
        draw=(0.0, 0.25),
    )  # fmt: skip

    inputs = {
        "token_ids": Input("b t", kind="index", below="vocab_size"),
        "padding_mask": Input("b t", kind="bool", optional=True),  # True = a real token
    }
    output_axes = "b t c | b t v"
    limits = {"t": "max_length"}
    counts = {"num_layers": "layers"}
    example = {"vocab_size": 11, "width": 8, "num_layers": 2, "layer": llama(), "final_norm": RMSNorm(width=8)}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layer", "other_layer", "embedding_norm", "final_norm"):
            part = getattr(self, name)
            self.require(
                part is None or set(widths(part)) == {self.width},
                "{} should have width = {}; got {}",
                name,
                self.width,
                part,
            )
        self.require(
            bool(self.pattern) and set(self.pattern) <= {"l", "o"},
            f'pattern should be letters "l" and "o", as in "ol"; got {self.pattern!r}',
        )
        self.require(
            ("o" in self.pattern) == (self.other_layer is not None),
            'an "o" in pattern and other_layer need each other; got {!r} and {}',
            self.pattern,
            self.other_layer,
        )
        first = self.layer if self.pattern[0] == "l" else self.other_layer
        self.require(
            self.first_norm or (isinstance(first, TransformerLayer) and first.norm is not None),
            "first_norm = False needs a TransformerLayer with a norm; got {}",
            first,
        )
        for name in ("layer", "other_layer"):
            part, bias = getattr(self, name), self.position_bias
            self.require(
                part is None or bias is None or getattr(bias, "num_heads", 0) == getattr(part, "num_heads", 0),
                "{} should have as many heads as position_bias; got {} and {}",
                name,
                part,
                bias,
            )
            self.require(
                part is None or getattr(part, "cross_attention", None) is None,
                "{} should have no cross_attention, for there is no memory; got {}",
                name,
                part,
            )

    @cached_property
    def layers(self) -> tuple[Block, ...]:
        kinds = {"l": self.layer, "o": self.other_layer}
        found = (kinds[self.pattern[i % len(self.pattern)]] for i in range(self.num_layers))
        first, *rest = (part for part in found if part)
        if not self.first_norm:
            assert isinstance(first, TransformerLayer)
            first = replace(first, attention_normed=False)
        return (first, *rest)

    def params(self) -> dict[str, Param]:
        table = Param((self.vocab_size, self.width))
        positions = {"position.embedding": Param((self.max_length, self.width))} if self.max_length else {}
        return {
            "token.embedding": table,
            **positions,
            **(nest("position_bias", self.position_bias) if self.position_bias else {}),
            **(nest("embedding_norm", self.embedding_norm) if self.embedding_norm else {}),
            **nest("layers", self.layers),
            **(nest("final_norm", self.final_norm) if self.final_norm else {}),
            **({"head.kernel": Param((self.width, self.vocab_size))} if self.head == "own" else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> LanguageModel:
        width = pick(8, 12)
        plain = llama(width, 5)
        around = replace(plain, norm=RMSNorm(width=width, zero_centered=True), norm_place="around")
        layer = pick(plain, gpt(width, 5), around)
        own: Any = plain.attention
        near = replace(plain, attention=replace(own, rotary=None, window_left=1))
        other, drawn = pick(None, None, near), cls.drawn(pick)
        embedding_norm = pick(None, None, LayerNorm(width=width))
        return cls(
            vocab_size=pick(5, 17),
            width=width,
            layer=layer,
            other_layer=other,
            pattern="l" if other is None else pick("ol", "lo", "o", "oool"),
            position_bias=pick(None, None, LinearPositionBias(num_heads=2)),
            embedding_norm=embedding_norm,
            first_norm=pick(True, False) if embedding_norm else True,
            final_norm=pick(RMSNorm(width=width), LayerNorm(width=width, use_offset=False), None),
            softcap=pick(None, 1.5) if drawn["head"] else None,
            **drawn,
        )

    def forward(self, w: Any, token_ids: Any, padding_mask: Any = None) -> np.ndarray:
        before, t = past(), token_ids.shape[1]
        x = self.embedding_scale * ops.embedding(token_ids, w["token.embedding"])
        if self.max_length is not None:
            x = x + w["position.embedding"][before : before + t]
        x = tap("embedded", x, "b t c")
        if self.embedding_norm is not None:
            x = self.embedding_norm(w["embedding_norm"], x)
        x = ops.dropout(x, self.dropout, "b t c")

        real, given = seen(padding_mask), {}
        if real is not None:
            given["attention_mask"] = real[:, None, None, :]
        if self.position_bias is not None:
            positions = np.arange(before + t)
            bias = self.position_bias(w["position_bias"], positions[before:], positions)
            given["bias"] = in_precision(bias, x)[None]
        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(w[f"layers.{i}"], x, **given), "b t c")

        if self.final_norm is not None:
            x = self.final_norm(w["final_norm"], x)
        if self.head is None:
            return x
        kernel = w["head.kernel"] if self.head == "own" else w["token.embedding"].T
        x = tap("logits", ops.linear(x, kernel), "b t v")
        return x if self.softcap is None else tap("capped", self.softcap * ops.tanh(x / self.softcap), "b t v")
