"""Hugging Face's GPT-NeoX and Pythia: attention and feed-forward side by side, a share of features that turns.

Source: ``transformers/models/gpt_neox/modeling_gpt_neox.py``. One kernel has query, key and value of the first head,
then those of the second, and so on. Published files call the head ``embed_out``.
"""

from __future__ import annotations

from dataclasses import replace

from attn_ref.foreign.entry import key
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, linear, norm
from attn_ref_torch.gpt_like import (
    ACTIVATIONS,
    ATTENTION,
    BLOCKS,
    FEED,
    PREFIXED,
    SIZES,
    WIDTHS,
    by_head,
    spots_of,
    thirds,
)
from attn_ref_torch.llama_config import tied
from attn_ref_torch.llama_rotary import rope

HERE, THERE = "layers.{i}", "layers.{i}"

NAMES = Map(
    name="hf.GPTNeoX",
    summary="Hugging Face GPTNeoXForCausalLM and GPTNeoXModel",
    rules=(
        Rule("embed_in.weight", "token.embedding"),
        *norm(f"{HERE}.input_layernorm", f"{THERE}.attention_norm"),
        *thirds(f"{HERE}.attention.query_key_value", f"{THERE}.attention"),
        *linear(f"{HERE}.attention.dense", f"{THERE}.attention.project"),
        *norm(f"{HERE}.post_attention_layernorm", f"{THERE}.feed_forward_norm"),
        *linear(f"{HERE}.mlp.dense_h_to_4h", f"{THERE}.feed_forward.expand"),
        *linear(f"{HERE}.mlp.dense_4h_to_h", f"{THERE}.feed_forward.reduce"),
        *norm("final_layer_norm", "final_norm"),
        Rule("embed_out.weight", "head.kernel", "transpose"),
    ),
    unused={
        "layers.*.attention.bias": "a buffer of older versions: which keys a query may see",
        "layers.*.attention.masked_bias": "a buffer of older versions: what hides a key",
        "layers.*.attention.rotary_emb.inv_freq": "a buffer of older versions: the frequencies of the angles",
    },
    prefixes=("gpt_neox.", ""),
    outside=("embed_out.weight", "lm_head.weight"),
    twins={"embed_out.weight": "embed_in.weight"},
    spellings={"lm_head": {"embed_out.weight": "lm_head.weight"}},
    fields=FieldRules(
        sizes=SIZES,
        unsaid={"head": ("head.kernel", "own", None)},
        blocks=BLOCKS,
        entries=(
            key("vocab_size", "vocab_size"),
            key("hidden_size", *WIDTHS),
            key("num_hidden_layers", "num_layers"),
            key("num_attention_heads", f"{ATTENTION}.num_heads"),
            key("intermediate_size", f"{FEED}.hidden_width"),
            key("hidden_act", f"{FEED}.activation", default="gelu", values=ACTIVATIONS),
            key("layer_norm_eps", "layer.norm.eps", "final_norm.eps", default=1e-5),
            key("use_parallel_residual", "layer.parallel", default=True, values={True: "own", False: None}),
            key("attention_bias", f"{ATTENTION}.use_bias", f"{ATTENTION}.output_bias", default=True),
            key("attention_dropout", f"{ATTENTION}.dropout", default=0.0),
            key("hidden_dropout", "dropout", "layer.dropout", default=0.0),
            rope(theta="rotary_emb_base", partial="rotary_pct", share=0.25),
            tied(default=False),
        ),
        allowed={"model_type": ("gpt_neox",)},
        always={f"{ATTENTION}.causal": "bottom_right", f"{ATTENTION}.rotary": "half", "layer.norm_place": "before"},
        asked=(f"{ATTENTION}.num_heads", f"{ATTENTION}.rotary_base", f"{FEED}.activation", "layer.norm.eps"),
    ),
    **PREFIXED,
)
MAP = replace(NAMES, derive=by_head(NAMES))
MAPS = (MAP,)

LAYER = [
    ("input_layernorm", "out", "attention_norm.shifted", "b t c"),
    ("attention.dense", "in", "attention.merged", "b t c"),
    ("attention.dense", "out", "attention.projected", "b t c"),
    ("post_attention_layernorm", "out", "feed_forward_norm.shifted", "b t c"),
    ("mlp.dense_h_to_4h", "out", "feed_forward.hidden", "b t f"),
    ("mlp.act", "out", "feed_forward.active", "b t f"),
    ("mlp.dense_4h_to_h", "out", "feed_forward.reduced", "b t c"),
]
spots = spots_of("gpt_neox", "layers", Spot("emb_dropout", "in", "embedded", "b t c"), "final_layer_norm", LAYER)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
