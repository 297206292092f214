"""Hugging Face's T5, T5 v1.1, Flan-T5 and mT5: a bias from distances that layers share, norms without mean, no biases.

Source: ``transformers/models/t5/modeling_t5.py``. The table of the bias lies in the first layer. A head of its own is
not scaled; a tied one is multiplied by ``d_model ** -0.5`` unless ``scale_decoder_outputs`` says otherwise, in place of
which older files say ``tie_word_embeddings``; mT5's never is. In training it also drops of the last values, which the
block does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attn_ref.foreign.entry import Entry, Values, key
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref_torch.seq2seq import ATTENTIONS, blocks, family, of_attentions, of_parts, spots

ATTENTION = {"query": "q", "key": "k", "value": "v", "project": "o"}
PLAIN = {"expand": "wi", "reduce": "wo"}
GATED = {"gate": "wi_0", "expand": "wi_1", "reduce": "wo"}


def names(feed_forward: Mapping[str, str]) -> dict[str, str]:
    """What a model holds -> its module."""
    found = {"token": "shared", "head": "lm_head"}
    for part, attentions in ATTENTIONS.items():
        here, there = f"{part}.block.{{i}}", f"{part}.layers.{{i}}"
        found |= {
            f"{part}.position_bias.table": f"{part}.block.0.layer.0.SelfAttention.relative_attention_bias",
            f"{part}.final_norm": f"{part}.final_layer_norm", there: here,
        }  # fmt: skip
        kinds = dict(zip(attentions, ("SelfAttention", "EncDecAttention"), strict=False))
        for n, (sub, kind) in enumerate(kinds.items()):
            found |= {f"{there}.{sub}.{our}": f"{here}.layer.{n}.{kind}.{their}" for our, their in ATTENTION.items()}
            found[f"{there}.{sub}_norm"] = f"{here}.layer.{n}.layer_norm"
        n, inner = len(attentions), "DenseReluDense"
        found |= {f"{there}.feed_forward.{o}": f"{here}.layer.{n}.{inner}.{t}" for o, t in feed_forward.items()}
        found[f"{there}.feed_forward_norm"] = f"{here}.layer.{n}.layer_norm"
    return found


def head() -> Entry:
    """The head and its scale: ``scale_decoder_outputs`` and ``tie_word_embeddings``.

    transformers 5 saves that the head is tied whether it is or not, so one that is not scaled is told by the file.
    """

    def read(config: Values) -> Values:
        told = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
        scaled = told and config.get("model_type") != "mt5"  # which has no such thing
        return {"head": "tied", "head_scale": config["d_model"] ** -0.5} if scaled else {"head_scale": 1.0}

    def write(held: Values) -> Values:
        scaled = held["head_scale"] != 1.0
        return {"scale_decoder_outputs": scaled, "tie_word_embeddings": scaled}

    return Entry(("scale_decoder_outputs", "tie_word_embeddings", "d_model"), read, write)


def decoder_layers() -> Entry:
    """As many as the encoder's, where nothing says it."""

    def read(config: Values) -> Values:
        count = config.get("num_decoder_layers")
        return {"decoder.num_layers": config["num_layers"] if count is None else count}

    return Entry(("num_decoder_layers",), read, lambda held: {"num_decoder_layers": held["decoder.num_layers"]})


def made(name: str, summary: str, feed_forward: Mapping[str, str], kind: str, activations: Mapping[str, str]) -> Map:
    """The map of T5s with such a feed-forward network."""
    drop = of_parts("dropout", "layer.dropout", "layer.feed_forward.dropout")
    plain = {} if "gate" in feed_forward else dict.fromkeys(of_parts("layer.feed_forward.use_bias"), False)
    return family(
        name, summary, names(feed_forward), ("t5", "mt5"),
        held=blocks("RMSNorm", kind, position_bias="RelativePositionBias", final_norm="RMSNorm"),
        entries=(
            key("vocab_size", "vocab_size"),
            key("num_layers", "encoder.num_layers"),
            decoder_layers(),
            key("num_heads", *of_attentions("num_heads"), *of_parts("position_bias.num_heads")),
            key("d_kv", *of_attentions("head_width"), default=64),
            key("d_ff", *of_parts("layer.feed_forward.hidden_width")),
            key("relative_attention_num_buckets", *of_parts("position_bias.num_buckets"), default=32),
            key("relative_attention_max_distance", *of_parts("position_bias.max_distance"), default=128),
            key("layer_norm_epsilon", *of_parts("layer.norm.eps", "final_norm.eps"), default=1e-6),
            key(
                "feed_forward_proj", *of_parts("layer.feed_forward.activation"), default=next(iter(activations)),
                values=activations,
            ),
            key("dropout_rate", *of_attentions("dropout"), *drop, default=0.1),
            head(),
        ),
        always={
            **dict.fromkeys(of_attentions("scale")), **dict.fromkeys(of_attentions("use_bias"), False),
            **dict.fromkeys(of_attentions("output_bias"), False), **plain, "decoder.position_bias.bidirectional": False,
        },
        unsaid={"head": ("head.kernel", "own", "tied")},
        inputs=("source_ids", "token_ids", "source_mask", "padding_mask"),
        asked=("head_scale",),
        besides=lambda block: [] if block.head else ["head = None"],
        twins={
            "lm_head.weight": "shared.weight", "encoder.embed_tokens.weight": "shared.weight",
            "decoder.embed_tokens.weight": "shared.weight",
        },
        unused={
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight":
            "of older versions: a bias of the cross-attention, which nothing reads",
        },
    )  # fmt: skip


PLAIN_MAP = made(
    "hf.T5", "Hugging Face T5ForConditionalGeneration with a plain feed-forward network, as T5 has it", PLAIN,
    "FeedForward", {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh"},
)  # fmt: skip
GATED_MAP = made(
    "hf.T5Gated", "Hugging Face T5ForConditionalGeneration with a gated one, as T5 v1.1, Flan-T5 and mT5 have it",
    GATED, "GatedFeedForward", {"gated-gelu": "gelu_tanh", "gated-silu": "silu", "gated-relu": "relu"},
)  # fmt: skip
MAPS = (PLAIN_MAP, GATED_MAP)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run, sequence_to_sequence

    block: Any = job.block
    gated = type(block.encoder.layer.feed_forward).__name__ == "GatedFeedForward"
    item, own = (GATED_MAP, GATED) if gated else (PLAIN_MAP, PLAIN)
    return run(item, lambda block: spots(names(own), block), job, **sequence_to_sequence("AutoModelForSeq2SeqLM"))
