"""Hugging Face's BLOOM: a linear bias for positions, a norm of the embeddings, query, key and value head by head.

Source: ``transformers/models/bloom/modeling_bloom.py``. Its GELU has √(2/π) with 8 digits, which is 1e-9 away; a file
is run with all of them. Published files have no ``transformer.`` before their names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attn_ref.foreign.entry import Entry, Values, key
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, linear, norm
from attn_ref_torch.gpt_like import ATTENTION, BLOCKS, FEED, PREFIXED, SIZES, WIDTHS, by_head, spots_of, thirds

HERE, THERE = "h.{i}", "layers.{i}"
EVERY = (*WIDTHS, "embedding_norm.width")


def width() -> Entry:
    """The width, ``n_embed`` in older files, and four times of it."""

    def read(config: Values) -> Values:
        size = config["n_embed"] if config.get("n_embed") is not None else config["hidden_size"]
        return {**dict.fromkeys(EVERY, size), f"{FEED}.hidden_width": 4 * size}

    return Entry(("hidden_size", "n_embed"), read, lambda held: {"hidden_size": held["width"]})


NAMES = Map(
    name="hf.Bloom",
    summary="Hugging Face BloomForCausalLM and BloomModel",
    rules=(
        Rule("word_embeddings.weight", "token.embedding"),
        *norm("word_embeddings_layernorm", "embedding_norm"),
        *norm(f"{HERE}.input_layernorm", f"{THERE}.attention_norm"),
        *thirds(f"{HERE}.self_attention.query_key_value", f"{THERE}.attention"),
        *linear(f"{HERE}.self_attention.dense", f"{THERE}.attention.project"),
        *norm(f"{HERE}.post_attention_layernorm", f"{THERE}.feed_forward_norm"),
        *linear(f"{HERE}.mlp.dense_h_to_4h", f"{THERE}.feed_forward.expand"),
        *linear(f"{HERE}.mlp.dense_4h_to_h", f"{THERE}.feed_forward.reduce"),
        *norm("ln_f", "final_norm"),
        Rule("lm_head.weight", "head.kernel", "transpose"),
    ),
    prefixes=("transformer.", ""),
    outside=("lm_head.weight",),
    twins={"lm_head.weight": "word_embeddings.weight"},
    fields=FieldRules(
        sizes={**SIZES, "embedding_norm.width": ("token.embedding", 1)},
        unsaid={"head": ("head.kernel", "own", None)},
        blocks={**BLOCKS, "embedding_norm": "LayerNorm", "position_bias": "LinearPositionBias"},
        entries=(
            key("vocab_size", "vocab_size"),
            width(),
            key("n_layer", "num_layers"),
            key("n_head", f"{ATTENTION}.num_heads", "position_bias.num_heads"),
            key("layer_norm_epsilon", "layer.norm.eps", "final_norm.eps", "embedding_norm.eps", default=1e-5),
            key("attention_dropout", f"{ATTENTION}.dropout", default=0.0),
            key("hidden_dropout", "layer.dropout", default=0.0),
            key("tie_word_embeddings", "head", default=True, values={True: "tied", False: "own"}),
        ),
        allowed={"model_type": ("bloom",), "apply_residual_connection_post_layernorm": (False,)},
        always={
            f"{ATTENTION}.causal": "bottom_right", f"{FEED}.activation": "gelu_tanh", "layer.norm_place": "before",
        },
        asked=(f"{ATTENTION}.num_heads", "position_bias.num_heads", "layer.norm.eps", "final_norm.eps"),
    ),
    **PREFIXED,
)  # fmt: skip
MAP = replace(NAMES, derive=by_head(NAMES))
MAPS = (MAP,)

LAYER = [
    ("input_layernorm", "out", "attention_norm.shifted", "b t c"),
    ("self_attention.dense", "in", "attention.merged", "b t c"),
    ("self_attention.dense", "out", "attention.projected", "b t c"),
    ("post_attention_layernorm", "read", "attended", "b t c"),
    ("post_attention_layernorm", "out", "feed_forward_norm.shifted", "b t c"),
    ("mlp.dense_h_to_4h", "out", "feed_forward.hidden", "b t f"),
    ("mlp.gelu_impl", "out", "feed_forward.active", "b t f"),
    ("mlp.dense_4h_to_h", "out", "feed_forward.reduced", "b t c"),
]
spots = spots_of("transformer", "h", Spot("word_embeddings", "out", "embedded", "b t c"), "ln_f", LAYER)


def exact(model: Any) -> None:
    """Give every layer the same GELU with all digits."""
    from torch import nn

    for layer in model.base_model.h:
        layer.mlp.gelu_impl = nn.GELU(approximate="tanh")


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job, exact)
