r"""Text encoder of the BERT family: token, position and segment embeddings, layer norm, post-norm encoder layers.

.. math:: X_0 = N(T[\text{token}] + P[0 \dots t{-}1] + S[\text{segment}]),\qquad X_{i+1} = \operatorname{layer}_i(X_i)

b batch, t length, c width, f hidden width, h heads. ``padding_mask`` (b, t) is True at real tokens;
padding is never attended to. What comes
out is the last X (b, t, c), its mean over real tokens (b, c), or the pooler's value (b, c).

Differences: a row of padding only attends to nothing here, so its attention gives zeros, and its mean is zeros; Hugging
Face's ``BertModel`` adds the most negative number to every score instead, so there it attends to all padding alike.
The pooler is BERT's: tanh of a linear layer over the first token. It is computed (tap ``pooler``) whenever it exists.

Source: Devlin et al. 2019, "BERT"; mean pooling: Reimers and Gurevych 2019, "Sentence-BERT".

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
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class TextEncoder(Block):
    """Embeddings, encoder layers, pooling."""

    vocab_size: int = option(meaning="how many tokens there are", above=0, witness=13)
    max_length: int = option(meaning="how many positions there are", above=0, witness=8)
    num_segments: int = option(meaning="how many segments there are (BERT's token types)", above=0, witness=3)
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
    pooler: bool = option(default=False, meaning="has the checkpoint BERT's pooler?", witness=True)
    pooling: str = option(
        default="none", meaning='what comes out: "none": every token; "mean": over real tokens; "pooler"',
        choices=("none", "mean", "pooler"), witness="mean",
    )  # fmt: skip

    inputs = {
        "token_ids": Input("b t", kind="index", below="vocab_size"),
        "padding_mask": Input("b t", kind="bool", optional=True),  # True = a real token
        "segment_ids": Input("b t", kind="index", below="num_segments", optional=True),  # default: all 0
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
        _ = self.layers  # how their options go together is checked there

    @cached_property
    def layers(self) -> tuple[EncoderLayer, ...]:
        return (EncoderLayer.from_options(self.fields()),) * self.num_layers

    def params(self) -> dict[str, Param]:
        return {
            "token.embedding": Param((self.vocab_size, self.width)),
            "position.embedding": Param((self.max_length, self.width)),
            "segment.embedding": Param((self.num_segments, self.width)),
            **norm("embedding_norm", self.width),
            **nest("layers", self.layers),
            **(dense("pool", self.width, self.width) if self.pooler else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> TextEncoder:
        heads, pooler = pick(1, 2, 3), pick(False, True)
        return cls(
            vocab_size=pick(5, 17),
            max_length=pick(6, 9),
            num_segments=pick(1, 2, 3),
            width=heads * pick(4, 5),
            num_heads=heads,
            **cls.drawn(pick),
            pooler=pooler,
            pooling=pick("none", "mean", "pooler" if pooler else "mean"),
        )

    def forward(self, w: Any, token_ids: Any, padding_mask: Any = None, segment_ids: Any = None) -> np.ndarray:
        t = token_ids.shape[1]
        segment_ids = np.zeros_like(token_ids) if segment_ids is None else segment_ids
        tokens = ops.embedding(token_ids, w["token.embedding"])
        segments = ops.embedding(segment_ids, w["segment.embedding"])
        x = tap("embedded", tokens + w["position.embedding"][:t] + segments, "b t c")
        x = ops.layer_norm(x, w["embedding_norm.scale"], w["embedding_norm.offset"], eps=self.eps)
        x = ops.dropout(tap("embedding_norm", x, "b t c"), self.dropout, "b t c")

        keys = None if padding_mask is None else padding_mask[:, None, None, :]
        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(w[f"layers.{i}"], x, attention_mask=keys), "b t c")

        if self.pooler:
            first = ops.linear(x[:, 0], w["pool.kernel"], w["pool.bias"])
            pooled = tap("pooler", ops.tanh(first), "b c")
            if self.pooling == "pooler":
                return pooled
        return x if self.pooling == "none" else tap("mean", self.mean(x, padding_mask), "b c")

    def mean(self, x: Any, padding_mask: Any) -> Any:
        """The mean over real tokens; zeros for a row that has none."""
        real = np.ones(x.shape[:2], bool) if padding_mask is None else padding_mask
        count = real.sum(axis=1, keepdims=True)
        count = np.where(count == 0, 1, count).astype(x.real.dtype)
        return ops.matmul(real[:, None, :].astype(x.dtype), x)[:, 0] / count
