r"""Text encoder of the BERT family: token, position and segment embeddings, layer norm, post-norm encoder layers.

.. math:: X_0 = N(T[\text{token}] + P[0 \dots t{-}1] + S[\text{segment}]),\qquad X_{i+1} = \operatorname{layer}_i(X_i)

b batch, t length, c width, u width of the tables, f hidden width, h heads. ``padding_mask`` (b, t) is True at real
tokens; padding is never attended to. What comes out is the last X (b, t, c), its mean over real tokens (b, c), or the
pooler's value (b, c). Tables may be narrower than the layers (u < c): then a linear layer follows the norm.

RoBERTa numbers positions by the tokens: where a token is ``padding_id`` its position is the row ``padding_id`` of P,
and all others are counted from the row behind it, whatever ``padding_mask`` says. P has so many rows more.

Differences: a row of padding only attends to nothing here, so its attention gives zeros, and its mean is zeros; Hugging
Face's ``BertModel`` adds the most negative number to every score instead, so there it attends to all padding alike.
The pooler is BERT's: tanh of a linear layer over the first token. It is computed (tap ``pooler``) whenever it exists.
DistilBERT has no segments. ELECTRA's tables may be narrower; ALBERT's always are followed by the linear layer, and its
layers share their weights.

Source: Devlin et al. 2019, "BERT"; mean pooling: Reimers and Gurevych 2019, "Sentence-BERT"; positions by tokens: Liu
et al. 2019, "RoBERTa", by its published code; narrow tables, shared layers: Lan et al. 2020, "ALBERT".

>>> import attn_ref as ar, numpy as np
>>> block = ar.TextEncoder(**ar.TextEncoder.example)
>>> block(block.init(), np.array([[1, 2, 3]])).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, dense, nest, norm, option, same
from attn_ref.blocks.encoder_layer import EncoderLayer
from attn_ref.tap import scope, tap


@dataclass(frozen=True, kw_only=True)
class TextEncoder(Block):
    """Embeddings, encoder layers, pooling."""

    vocab_size: int = option(meaning="how many tokens there are", above=0, witness=13)
    max_length: int = option(meaning="how many positions there are", above=0, witness=8)
    num_segments: int | None = option(
        meaning="how many segments there are (BERT's token types); None: there are none", above=0, witness=3
    )
    width: int = option(meaning="width of every token", above=0, witness=12)
    num_layers: int = option(meaning="encoder layers", above=0, witness=1, draw=(1, 2))
    num_heads: int = option(meaning="attention heads of each", above=0, witness=2)
    hidden_width: int = option(meaning="width inside the feed-forward networks", above=0, witness=16, draw=(7, 16))
    activation: str = option(
        default="gelu", meaning='"gelu" (error function), "gelu_tanh", "quick_gelu" or "relu"',
        choices=tuple(ops.ACTIVATIONS), witness="relu", draw=("gelu", "relu", "gelu_tanh"),
    )  # fmt: skip
    eps: float = option(
        default=1e-12, meaning="added to the variance by every norm", above=0, witness=0.1, draw=(1e-12, 1e-5)
    )
    dropout: float = same(
        EncoderLayer, "dropout",
        meaning="share that training drops of embeddings, sub-layers' results and hidden values",
    )  # fmt: skip
    attention_dropout: float = same(EncoderLayer, "attention_dropout")
    padding_id: int | None = option(
        default=None, least=0, witness=1, draw=(None, None, 1, 3),
        meaning="the token whose position is row padding_id, while those of others are counted from the next row on; "
        "None: positions are counted from row 0, whatever the tokens",
    )  # fmt: skip
    embedding_width: int | None = option(
        default=None, above=0, witness=5, draw=(None, None, 5, 9),
        meaning="width of the tables, from which a linear layer leads to width; None: there is no such layer",
    )  # fmt: skip
    shared_layers: bool = option(
        default=False, meaning="have all layers the same weights?", witness=True, draw=(False, False, True)
    )
    pooler: bool = option(default=False, meaning="has the checkpoint BERT's pooler?", witness=True)
    pooling: str = option(
        default="none", meaning='what comes out: "none": every token; "mean": over real tokens; "pooler"',
        choices=("none", "mean", "pooler"), witness="mean",
    )  # fmt: skip

    inputs = {
        "token_ids": Input("b t", kind="index", below="vocab_size"),
        "padding_mask": Input("b t", kind="bool", optional=True),  # True = a real token
        "segment_ids": Input(
            "b t", kind="index", below="num_segments", optional=True, needs="num_segments"
        ),  # default: all 0
    }
    output_axes = "b t c | b c"
    limits = {"t": "max_length"}
    counts = {"num_layers": "layers"}
    example = {
        "vocab_size": 11, "max_length": 7, "num_segments": 2, "width": 8, "num_layers": 2, "num_heads": 4,
        "hidden_width": 12,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.pooler or self.pooling != "pooler", "pooling = 'pooler' needs pooler = True")
        self.require(
            self.padding_id is None or self.padding_id < self.vocab_size,
            f"padding_id = {self.padding_id} should be a token, and they go from 0 to {self.vocab_size - 1}",
        )
        _ = self.layers  # how their options go together is checked there

    @cached_property
    def layer(self) -> EncoderLayer:
        return EncoderLayer.from_options(self.fields())

    @cached_property
    def layers(self) -> tuple[EncoderLayer, ...]:
        return (self.layer,) * self.num_layers

    @property
    def first_position(self) -> int:
        return 0 if self.padding_id is None else self.padding_id + 1

    def params(self) -> dict[str, Param]:
        u = self.embedding_width or self.width
        segments = {"segment.embedding": Param((self.num_segments, u))} if self.num_segments else {}
        return {
            "token.embedding": Param((self.vocab_size, u)),
            "position.embedding": Param((self.first_position + self.max_length, u)),
            **segments,
            **norm("embedding_norm", u),
            **(dense("embedding_project", u, self.width) if self.embedding_width else {}),
            **(nest("layer", self.layer) if self.shared_layers else nest("layers", self.layers)),
            **(dense("pool", self.width, self.width) if self.pooler else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> TextEncoder:
        heads, pooler = pick(1, 2, 3), pick(False, True)
        return cls(
            vocab_size=pick(5, 17),
            max_length=pick(6, 9),
            num_segments=pick(1, 2, 3, None),
            width=heads * pick(4, 5),
            num_heads=heads,
            **cls.drawn(pick),
            pooler=pooler,
            pooling=pick("none", "mean", "pooler" if pooler else "mean"),
        )

    def forward(self, w: Any, token_ids: Any, padding_mask: Any = None, segment_ids: Any = None) -> np.ndarray:
        x = ops.embedding(token_ids, w["token.embedding"])
        x = x + ops.embedding(self.positions(token_ids), w["position.embedding"])
        if self.num_segments is not None:
            segment_ids = np.zeros_like(token_ids) if segment_ids is None else segment_ids
            x = x + ops.embedding(segment_ids, w["segment.embedding"])
        x = tap("embedded", x, "b t u")
        x = ops.layer_norm(x, w["embedding_norm.scale"], w["embedding_norm.offset"], eps=self.eps)
        x = ops.dropout(tap("embedding_norm", x, "b t u"), self.dropout, "b t u")
        if self.embedding_width is not None:
            x = ops.linear(x, w["embedding_project.kernel"], w["embedding_project.bias"])
            x = tap("embedding_projected", x, "b t c")

        keys = None if padding_mask is None else padding_mask[:, None, None, :]
        for i, layer in enumerate(self.layers):
            if self.shared_layers:
                with scope(f"layers.{i}"):
                    x = layer(w["layer"], x, attention_mask=keys)
            else:
                x = layer(w[f"layers.{i}"], x, attention_mask=keys)
            x = tap(f"layer_{i}", x, "b t c")

        if self.pooler:
            first = ops.linear(x[:, 0], w["pool.kernel"], w["pool.bias"])
            pooled = tap("pooler", ops.tanh(first), "b c")
            if self.pooling == "pooler":
                return pooled
        return x if self.pooling == "none" else tap("mean", self.mean(x, padding_mask), "b c")

    def positions(self, token_ids: Any) -> Any:
        """Which row of the table of positions belongs to each token: (t,), or by the tokens (b, t)."""
        if self.padding_id is None:
            return np.arange(token_ids.shape[1])
        real = token_ids != self.padding_id
        return self.padding_id + real * real.cumsum(axis=1)

    def mean(self, x: Any, padding_mask: Any) -> Any:
        """The mean over real tokens; zeros for a row that has none."""
        real = np.ones(x.shape[:2], bool) if padding_mask is None else padding_mask
        count = real.sum(axis=1, keepdims=True)
        count = np.where(count == 0, 1, count).astype(x.real.dtype)
        return ops.matmul(real[:, None, :].astype(x.dtype), x)[:, 0] / count
