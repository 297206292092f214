"""Hugging Face's BART: learned positions, a norm of the embeddings, norms behind sub-layers, a bias of the logits.

Source: ``transformers/models/bart/modeling_bart.py``. Its tables of positions begin with two rows that nothing reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attn_ref.foreign.entry import key
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule
from attn_ref_torch.llama_config import tied
from attn_ref_torch.seq2seq import bart_entries, bart_names, blocks, family, of_parts, scaled, spots

NAMES = {"token": "shared", "head": "lm_head", **bart_names(embedding_norm="layernorm_embedding")}

MAP = family(
    "hf.Bart",
    "Hugging Face BartForConditionalGeneration and BartModel",
    NAMES,
    ("bart",),
    held=blocks("LayerNorm", "FeedForward", embedding_norm="LayerNorm"),
    entries=(
        *bart_entries(default=0.1),
        key("max_position_embeddings", *of_parts("max_length"), default=1024),
        scaled(),
        tied(default=True),
    ),
    allowed={
        "encoder_layerdrop": (0.0,), "decoder_layerdrop": (0.0,), "add_final_layer_norm": (False,),
        "normalize_before": (False,), "normalize_embedding": (True,), "static_position_embeddings": (False,),
        "extra_pos_embeddings": (2,),
    },
    always={
        **dict.fromkeys(of_parts("position_offset"), 2), **dict.fromkeys(of_parts("layer.norm_place"), "after"),
    },
    rules=(Rule("final_logits_bias", "logits_bias", "batch"),),
    unsaid={"head": ("head.kernel", "own", None), "head_bias": ("logits_bias", True, False)},
    inputs=("source_ids", "token_ids", "source_mask", "padding_mask"),
    prefixes=("model.", ""),
    outside=("lm_head.weight", "final_logits_bias"),
    twins={
        "lm_head.weight": "shared.weight", "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    },
    unused={
        "encoder.version": "a number of older versions and not a weight",
        "decoder.version": "a number of older versions and not a weight",
    },
)  # fmt: skip
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run, sequence_to_sequence

    def places(block: Any) -> Iterator[Spot]:
        return spots(NAMES, block, "model." if block.head else "")

    return run(MAP, places, job, **sequence_to_sequence("AutoModelForSeq2SeqLM"))
