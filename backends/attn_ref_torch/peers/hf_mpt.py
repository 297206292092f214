"""Hugging Face's MPT: a linear bias for positions, no biases in any layer, clipped queries, keys and values.

Source: ``transformers/models/mpt/modeling_mpt.py``, which computes no more of ``attn_config`` than is read here.
"""

from __future__ import annotations

from collections.abc import Mapping

from attn_ref.foreign.entry import Entry, Values, key, said
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule
from attn_ref_torch.gpt_like import ATTENTION, BLOCKS, FEED, PREFIXED, SIZES, WIDTHS, spots_of

HERE, THERE = "blocks.{i}", "layers.{i}"
#: what ``attn_config`` has to say, where it says it
FIXED = {
    "attn_type": "multihead_attention", "prefix_lm": False, "qk_ln": False, "attn_uses_sequence_id": False,
    "alibi": True, "alibi_bias_max": 8,
}  # fmt: skip


def attention() -> Entry:
    """``attn_config``."""

    def read(config: Values) -> Values:
        told = config.get("attn_config") or {}
        if not isinstance(told, Mapping):
            raise ValueError(f"attn_config is {said(told)}; names and values can be expressed")
        wrong = [
            f"attn_config.{name} is {said(told[name])}; {said(value)} can be expressed"
            for name, value in FIXED.items()
            if told.get(name, value) != value
        ]
        if wrong:
            raise ValueError("\n  ".join(wrong))
        scale, drop = told.get("softmax_scale"), told.get("attn_pdrop", 0)
        return {
            f"{ATTENTION}.clip": told.get("clip_qkv") or None, f"{ATTENTION}.scale": "head" if scale is None else scale,
            f"{ATTENTION}.dropout": drop, "layer.dropout": drop,
        }  # fmt: skip

    def write(held: Values) -> Values:
        scale = held[f"{ATTENTION}.scale"]
        told = {
            "clip_qkv": held[f"{ATTENTION}.clip"], "attn_pdrop": held[f"{ATTENTION}.dropout"],
            "softmax_scale": None if scale == "head" else scale,
        }  # fmt: skip
        return {"attn_config": {**FIXED, **told}}

    return Entry(("attn_config",), read, write)


def width() -> Entry:
    """The width, and four times of it: ``expansion_ratio`` is not looked at."""

    def read(config: Values) -> Values:
        return {**dict.fromkeys(WIDTHS, config["d_model"]), f"{FEED}.hidden_width": 4 * config["d_model"]}

    return Entry(("d_model",), read, lambda held: {"d_model": held["width"]})


MAP = Map(
    name="hf.MPT",
    summary="Hugging Face MptForCausalLM and MptModel",
    rules=(
        Rule("wte.weight", "token.embedding"),
        Rule(f"{HERE}.norm_1.weight", f"{THERE}.attention_norm.scale"),
        *[
            Rule(f"{HERE}.attn.Wqkv.weight", f"{THERE}.attention.{name}.kernel", "transpose", Part(n, 1, 3))
            for n, name in enumerate(("query", "key", "value"))
        ],
        Rule(f"{HERE}.attn.out_proj.weight", f"{THERE}.attention.project.kernel", "transpose"),
        Rule(f"{HERE}.norm_2.weight", f"{THERE}.feed_forward_norm.scale"),
        Rule(f"{HERE}.ffn.up_proj.weight", f"{THERE}.feed_forward.expand.kernel", "transpose"),
        Rule(f"{HERE}.ffn.down_proj.weight", f"{THERE}.feed_forward.reduce.kernel", "transpose"),
        Rule("norm_f.weight", "final_norm.scale"),
        Rule("lm_head.weight", "head.kernel", "transpose"),
    ),
    prefixes=("transformer.", ""),
    outside=("lm_head.weight",),
    twins={"lm_head.weight": "wte.weight"},
    fields=FieldRules(
        sizes=SIZES,
        unsaid={"head": ("head.kernel", "own", None)},
        blocks={**BLOCKS, "position_bias": "LinearPositionBias"},
        entries=(
            key("vocab_size", "vocab_size"),
            width(),
            key("n_layers", "num_layers"),
            key("n_heads", f"{ATTENTION}.num_heads", "position_bias.num_heads"),
            key("layer_norm_epsilon", "layer.norm.eps", "final_norm.eps", default=1e-5),
            attention(),
            key("tie_word_embeddings", "head", default=True, values={True: "tied", False: "own"}),
        ),
        allowed={"model_type": ("mpt",)},
        always={
            f"{ATTENTION}.causal": "bottom_right", f"{FEED}.activation": "gelu", "layer.norm_place": "before",
            "layer.norm.use_offset": False, "final_norm.use_offset": False, f"{FEED}.use_bias": False,
            f"{ATTENTION}.use_bias": False, f"{ATTENTION}.output_bias": False,
        },
        asked=(f"{ATTENTION}.num_heads", "position_bias.num_heads", "layer.norm.eps", "final_norm.eps"),
    ),
    **PREFIXED,
)  # fmt: skip
MAPS = (MAP,)

LAYER = [
    ("norm_1", "out", "attention_norm.scaled", "b t c"),
    ("attn.out_proj", "in", "attention.merged", "b t c"),
    ("attn.out_proj", "out", "attention.projected", "b t c"),
    ("norm_2", "read", "attended", "b t c"),
    ("norm_2", "out", "feed_forward_norm.scaled", "b t c"),
    ("ffn.up_proj", "out", "feed_forward.hidden", "b t f"),
    ("ffn.act", "out", "feed_forward.active", "b t f"),
    ("ffn.down_proj", "out", "feed_forward.reduced", "b t c"),
]
spots = spots_of("transformer", "blocks", Spot("wte", "out", "embedded", "b t c"), "norm_f", LAYER)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
