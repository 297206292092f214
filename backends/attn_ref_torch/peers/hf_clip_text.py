"""Hugging Face's ``CLIPTextModel``: the text tower of CLIP, alone or in a file of both towers.

Source: ``transformers/models/clip/modeling_clip.py``. What comes out is every token. CLIP takes that of the last real
one, and a linear layer without bias makes its embedding of it; the layer is left out.
"""

from __future__ import annotations

from attn_ref.foreign.entry import key
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, linear, norm
from attn_ref_torch.gpt_like import ATTENTION, BLOCKS, FEED, PREFIXED, SIZES, WIDTHS, spots_of
from attn_ref_torch.hugging_face import WORDS

HERE, THERE = "encoder.layers.{i}", "layers.{i}"
VISION = "the vision tower"

MAP = Map(
    name="hf.CLIPTextModel",
    summary="Hugging Face CLIPTextModel, and the text tower of CLIPModel",
    rules=(
        Rule("embeddings.token_embedding.weight", "token.embedding"),
        Rule("embeddings.position_embedding.weight", "position.embedding"),
        *norm(f"{HERE}.layer_norm1", f"{THERE}.attention_norm"),
        *linear(f"{HERE}.self_attn.q_proj", f"{THERE}.attention.query"),
        *linear(f"{HERE}.self_attn.k_proj", f"{THERE}.attention.key"),
        *linear(f"{HERE}.self_attn.v_proj", f"{THERE}.attention.value"),
        *linear(f"{HERE}.self_attn.out_proj", f"{THERE}.attention.project"),
        *norm(f"{HERE}.layer_norm2", f"{THERE}.feed_forward_norm"),
        *linear(f"{HERE}.mlp.fc1", f"{THERE}.feed_forward.expand"),
        *linear(f"{HERE}.mlp.fc2", f"{THERE}.feed_forward.reduce"),
        *norm("final_layer_norm", "final_norm"),
    ),
    unused={
        "embeddings.position_ids": "the numbers 0, 1, 2 …, a buffer of older versions and not a weight",
        "text_projection.weight": "the projection of the last real token, which comes after the tower",
        "vision_model.*": VISION, "visual_projection.weight": VISION, "logit_scale": "the loss of both towers",
    },
    prefixes=("text_model.", ""),
    outside=("text_projection.weight",),
    fields=FieldRules(
        sizes={**SIZES, "max_length": ("position.embedding", 0)},
        blocks=BLOCKS,
        inside="text_config",
        entries=(
            key("vocab_size", "vocab_size", default=49408),
            key("hidden_size", *WIDTHS, default=512),
            key("num_hidden_layers", "num_layers", default=12),
            key("num_attention_heads", f"{ATTENTION}.num_heads", default=8),
            key("intermediate_size", f"{FEED}.hidden_width", default=2048),
            key("max_position_embeddings", "max_length", default=77),
            key("hidden_act", f"{FEED}.activation", default="quick_gelu", values=WORDS),
            key("layer_norm_eps", "layer.norm.eps", "final_norm.eps", default=1e-5),
            key("attention_dropout", f"{ATTENTION}.dropout", default=0.0),
        ),
        allowed={"model_type": ("clip_text_model",)},
        always={"head": None, f"{ATTENTION}.causal": "bottom_right", "layer.norm_place": "before"},
        asked=(f"{ATTENTION}.num_heads", f"{FEED}.activation", "layer.norm.eps", "final_norm.eps"),
    ),
    **PREFIXED,
)  # fmt: skip
MAPS = (MAP,)

LAYER = [
    ("layer_norm1", "out", "attention_norm.shifted", "b t c"),
    ("self_attn.out_proj", "in", "attention.merged", "b t c"),
    ("self_attn.out_proj", "out", "attention.projected", "b t c"),
    ("layer_norm2", "read", "attended", "b t c"),
    ("layer_norm2", "out", "feed_forward_norm.shifted", "b t c"),
    ("mlp.fc1", "out", "feed_forward.hidden", "b t f"),
    ("mlp.fc2", "in", "feed_forward.active", "b t f"),
    ("mlp.fc2", "out", "feed_forward.reduced", "b t c"),
]
spots = spots_of("", "encoder.layers", Spot("embeddings", "out", "embedded", "b t c"), "final_layer_norm", LAYER)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job, classes=("CLIPTextModel", "CLIPTextModel"))
