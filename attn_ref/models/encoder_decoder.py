r"""Encoder and decoder: T5, BART, Whisper. The decoder attends to itself and to what the encoder made of the source.

.. math:: M = \operatorname{encoder}(s\,T[\text{source}]) \text{ or } \operatorname{encoder}(\operatorname{stem}(F)),
          \qquad Y = a\,\operatorname{decoder}(s\,T[\text{token}], M)\, W + b

b batch, t length, n length of the source, N frames, c width, v tokens of the vocabulary. T is the table of tokens,
which encoder and decoder share, s what its rows are multiplied by; F are features in place of tokens, if there is a
stem. W is Tᵀ if the head is tied, a and b its scale and bias; without a head the decoder's last values come out.
``source_mask`` (b, n) and ``padding_mask`` (b, t) are True at real tokens; padding is never attended to.

The token that a sequence begins with is the first of ``token_ids``: nothing is shifted here. ``attn_ref.Decoding`` runs
the decoder step by step, and the encoder in the first step alone; the source of that step counts.

Differences: T5 has a bias from distances, one for the encoder and one for the decoder, norms without mean and no
biases; it does not scale its scores, and multiplies by c^(−1/2) before a tied head. BART has learned positions, a norm
of the embeddings, norms behind sub-layers, and a bias of the logits. Whisper's encoder reads features of sound, always
as many.

Source: Vaswani et al. 2017, "Attention Is All You Need"; Raffel et al. 2020, "Exploring the Limits of Transfer Learning
with a Unified Text-to-Text Transformer"; Lewis et al. 2020, "BART"; Radford et al. 2022, "Robust Speech Recognition via
Large-Scale Weak Supervision".

>>> import attn_ref as ar, numpy as np
>>> block = ar.EncoderDecoder(**ar.EncoderDecoder.example)
>>> block(block.init(), np.array([[1, 2, 3, 4]]), token_ids=np.array([[0, 5]])).shape
(1, 2, 11)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, nest, option
from attn_ref.blocks.conv_stem import ConvStem
from attn_ref.blocks.layer_norm import LayerNorm
from attn_ref.blocks.relative_position_bias import RelativePositionBias
from attn_ref.blocks.rms_norm import RMSNorm
from attn_ref.blocks.transformer_layer import widths
from attn_ref.blocks.transformer_stack import TransformerStack, plain
from attn_ref.kv_cache import remembered
from attn_ref.tap import tap


def stack(width: int = 8, *, crosses: bool = False, **options: Any) -> TransformerStack:
    """A stack of one plain layer."""
    norm = LayerNorm(width=width)
    return TransformerStack(
        **{"width": width, "num_layers": 1, "layer": plain(width, crosses=crosses), "final_norm": norm, **options}
    )


@dataclass(frozen=True, kw_only=True)
class EncoderDecoder(Block):
    """Embeddings or a stem, encoder, decoder, head."""

    vocab_size: int = option(meaning="how many tokens there are", above=0, witness=13)
    width: int = option(
        meaning="width of every token", above=0,
        witness={"width": 12, "encoder": stack(12), "decoder": stack(12, crosses=True)},
    )  # fmt: skip
    encoder: Block = option(meaning="a block for stack", role="stack", witness=stack(num_layers=2))
    decoder: Block = option(
        meaning="a block for stack, whose layers have cross_attention", role="stack",
        witness=stack(crosses=True, num_layers=2),
    )  # fmt: skip
    stem: Block | None = option(
        default=None, meaning="a block for stem, whose values the encoder reads; None: it reads tokens", role="stem",
        witness=ConvStem(channels=2, width=8),
    )  # fmt: skip
    embedding_scale: float = option(
        default=1.0, meaning="what token embeddings are multiplied by", above=0, witness=2.0, draw=(1.0, 1.0, 2.5)
    )
    head: str | None = option(
        default="own", choices=("own", "tied"), witness=None, draw=("own", "tied", None),
        meaning='what gives the logits: "own": a kernel; "tied": the table of tokens; None: nothing does',
    )  # fmt: skip
    head_scale: float = option(
        default=1.0, meaning="what the decoder's values are multiplied by before the head", above=0, needs="head",
        witness=0.5,
    )  # fmt: skip
    head_bias: bool = option(default=False, meaning="have the logits a bias?", needs="head", witness=True)

    inputs = {
        "source_ids": Input("b n", kind="index", below="vocab_size", needs="source_tokens"),
        "features": Input("b N {stem_channels}", needs="stem"),
        "token_ids": Input("b t", kind="index", below="vocab_size"),
        "source_mask": Input("b n", kind="bool", optional=True, needs="source_tokens"),  # True = a real token
        "padding_mask": Input("b t", kind="bool", optional=True),
    }
    output_axes = "b t c | b t v"
    limits = {"t": "target_length", "n": "source_length"}
    fixed = {"N": "frames"}
    counts = {"encoder.num_layers": "encoder.layers", "decoder.num_layers": "decoder.layers"}
    example = {"vocab_size": 11, "width": 8, "encoder": stack(), "decoder": stack(crosses=True)}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder", "decoder"):
            part = getattr(self, name)
            self.require(set(widths(part)) == {self.width}, "{} should have width = {}; got {}", name, self.width, part)
        self.require(
            getattr(self.encoder, "cross_attention", None) is None,
            "encoder should have no cross_attention, for there is no memory; got {}",
            self.encoder,
        )
        self.require(
            getattr(self.decoder, "cross_attention", None) is not None
            and getattr(self.decoder, "memory_width", 0) == self.width,
            "decoder should have layers with a cross_attention that reads width = {}; got {}",
            self.width,
            self.decoder,
        )
        self.require(
            self.stem is None or getattr(self.stem, "width", 0) == self.width,
            "stem should have width = {}; got {}",
            self.width,
            self.stem,
        )

    @property
    def source_tokens(self) -> bool | None:
        return True if self.stem is None else None

    @property
    def stem_channels(self) -> int:
        return int(getattr(self.stem, "channels", 0))

    @property
    def source_length(self) -> int | None:
        return getattr(self.encoder, "max_length", None) if self.stem is None else None

    @property
    def target_length(self) -> int | None:
        return getattr(self.decoder, "max_length", None)

    @property
    def frames(self) -> int | None:
        """How many frames there always are, if the encoder has positions."""
        length = getattr(self.encoder, "max_length", None)
        return None if self.stem is None or length is None else length * getattr(self.stem, "stride", 1)

    def params(self) -> dict[str, Param]:
        return {
            "token.embedding": Param((self.vocab_size, self.width)),
            **(nest("stem", self.stem) if self.stem else {}),
            **nest("encoder", self.encoder),
            **nest("decoder", self.decoder),
            **({"head.kernel": Param((self.width, self.vocab_size))} if self.head == "own" else {}),
            **({"logits_bias": Param((self.vocab_size,), "bias")} if self.head_bias else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> EncoderDecoder:
        width, drawn = pick(8, 12), cls.drawn(pick)
        encoder, decoder = stack(width), stack(width, crosses=True)
        t5 = RMSNorm(width=width)
        near = RelativePositionBias(num_heads=2, num_buckets=8, max_distance=9)
        encoder = pick(encoder, replace(encoder, max_length=9, embedding_norm=LayerNorm(width=width)),
                       replace(encoder, final_norm=t5, position_bias=near))  # fmt: skip
        decoder = pick(decoder, replace(decoder, max_length=9, position_offset=2, final_norm=None),
                       replace(decoder, final_norm=t5, position_bias=replace(near, bidirectional=False)))  # fmt: skip
        return cls(
            vocab_size=pick(5, 17),
            width=width,
            encoder=encoder,
            decoder=decoder,
            stem=pick(None, None, ConvStem(channels=3, width=width)),
            head_scale=pick(1.0, 0.25) if drawn["head"] else 1.0,
            head_bias=pick(False, True) if drawn["head"] else False,
            **drawn,
        )

    def forward(
        self, w: Any, source_ids: Any = None, features: Any = None, token_ids: Any = None, source_mask: Any = None,
        padding_mask: Any = None,
    ) -> np.ndarray:  # fmt: skip
        def encode() -> Any:
            if self.stem is not None:
                x = tap("stem", self.stem(w["stem"], features), "b n c")
            else:
                x = tap("source", self.embed(w, source_ids), "b n c")
            return tap("memory", self.encoder(w["encoder"], x, padding_mask=source_mask), "b n c")

        memory = remembered(encode)
        x = tap("target", self.embed(w, token_ids), "b t c")
        x = self.decoder(w["decoder"], x, memory, padding_mask=padding_mask, memory_mask=source_mask)
        if self.head is None:
            return x
        x = self.head_scale * x
        kernel = w["head.kernel"] if self.head == "own" else w["token.embedding"].T
        return tap("logits", ops.linear(x, kernel, w["logits_bias"] if self.head_bias else None), "b t v")

    def embed(self, w: Any, ids: Any) -> Any:
        return self.embedding_scale * ops.embedding(ids, w["token.embedding"])
