"""Hugging Face's GPT-2: learned positions, one kernel for query, key and value, kernels as (in, out).

Source: ``transformers/models/gpt2/modeling_gpt2.py``; the names are those of its ``state_dict``. Published files begin
at ``wte``, without ``transformer.`` before it, and have no head, since it is the table of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

from attn_ref.foreign.entry import Entry, Values, key
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, norm
from attn_ref_torch.gpt_like import ACTIVATIONS, ATTENTION, BLOCKS, FEED, PREFIXED, SIZES, WIDTHS, spots_of

HERE, THERE = "h.{i}", "layers.{i}"


def conv1d(foreign: str, canonical: str, part: int | None = None) -> Iterator[Rule]:
    """The rules of transformers' ``Conv1D``, which keeps its ``weight`` as (in, out); or of a third of it."""
    kernel, bias = (None, None) if part is None else (Part(part, 1, 3, axis=1), Part(part, 1, 3))
    yield Rule(f"{foreign}.weight", f"{canonical}.kernel", part=kernel)
    yield Rule(f"{foreign}.bias", f"{canonical}.bias", part=bias)


def inner() -> Entry:
    """The hidden width, four times the width where it is left out."""

    def read(config: Values) -> Values:
        width = config.get("n_inner")
        return {f"{FEED}.hidden_width": 4 * config["n_embd"] if width is None else width}

    return Entry(("n_inner",), read, lambda held: {"n_inner": held[f"{FEED}.hidden_width"]})


MAP = Map(
    name="hf.GPT2",
    summary="Hugging Face GPT2LMHeadModel and GPT2Model",
    rules=(
        Rule("wte.weight", "token.embedding"),
        Rule("wpe.weight", "position.embedding"),
        *norm(f"{HERE}.ln_1", f"{THERE}.attention_norm"),
        *conv1d(f"{HERE}.attn.c_attn", f"{THERE}.attention.query", 0),
        *conv1d(f"{HERE}.attn.c_attn", f"{THERE}.attention.key", 1),
        *conv1d(f"{HERE}.attn.c_attn", f"{THERE}.attention.value", 2),
        *conv1d(f"{HERE}.attn.c_proj", f"{THERE}.attention.project"),
        *norm(f"{HERE}.ln_2", f"{THERE}.feed_forward_norm"),
        *conv1d(f"{HERE}.mlp.c_fc", f"{THERE}.feed_forward.expand"),
        *conv1d(f"{HERE}.mlp.c_proj", f"{THERE}.feed_forward.reduce"),
        *norm("ln_f", "final_norm"),
        Rule("lm_head.weight", "head.kernel", "transpose"),
    ),
    unused={
        "h.*.attn.bias": "a buffer of older versions: which keys a query may see",
        "h.*.attn.masked_bias": "a buffer of older versions: what hides a key",
    },
    prefixes=("transformer.", ""),
    outside=("lm_head.weight",),
    twins={"lm_head.weight": "wte.weight"},
    fields=FieldRules(
        sizes={**SIZES, "max_length": ("position.embedding", 0)},
        unsaid={"head": ("head.kernel", "own", None)},
        blocks=BLOCKS,
        entries=(
            key("vocab_size", "vocab_size"),
            key("n_positions", "max_length"),
            key("n_embd", *WIDTHS),
            key("n_layer", "num_layers"),
            key("n_head", f"{ATTENTION}.num_heads"),
            inner(),
            key("activation_function", f"{FEED}.activation", default="gelu_new", values=ACTIVATIONS),
            key("layer_norm_epsilon", "layer.norm.eps", "final_norm.eps", default=1e-5),
            key("scale_attn_weights", f"{ATTENTION}.scale", default=True, values={True: "head", False: None}),
            key("embd_pdrop", "dropout", default=0.1),
            key("resid_pdrop", "layer.dropout", default=0.1),
            key("attn_pdrop", f"{ATTENTION}.dropout", default=0.1),
            key("tie_word_embeddings", "head", default=True, values={True: "tied", False: "own"}),
        ),
        allowed={
            "model_type": ("gpt2",),
            "add_cross_attention": (False,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
        },
        always={f"{ATTENTION}.causal": "bottom_right", "layer.norm_place": "before"},
        asked=(f"{ATTENTION}.num_heads", f"{FEED}.activation", "layer.norm.eps", "final_norm.eps"),
    ),
    **PREFIXED,
)  # fmt: skip
MAPS = (MAP,)

LAYER = [
    ("ln_1", "out", "attention_norm.shifted", "b t c"),
    ("attn.c_proj", "in", "attention.merged", "b t c"),
    ("attn.c_proj", "out", "attention.projected", "b t c"),
    ("ln_2", "read", "attended", "b t c"),
    ("ln_2", "out", "feed_forward_norm.shifted", "b t c"),
    ("mlp.c_fc", "out", "feed_forward.hidden", "b t f"),
    ("mlp.act", "out", "feed_forward.active", "b t f"),
    ("mlp.c_proj", "out", "feed_forward.reduced", "b t c"),
]
spots = spots_of("transformer", "h", Spot("drop", "in", "embedded", "b t c"), "ln_f", LAYER)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
