"""Hugging Face's Gemma 3, the text model: Gemma 2 with norms of query and key, and angles of their own in windows.

Source: ``transformers/models/gemma3/modeling_gemma3.py``.
"""

from __future__ import annotations

from typing import Any

from attn_ref.foreign.entry import Entry, Values, key
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_config import (
    ATTENTION,
    FULL,
    SLIDING,
    alternating,
    entries,
    follows,
    parameters,
    scale,
    turned,
    turning,
    windows,
)
from attn_ref_torch.llama_like import ALWAYS, FOUR, QK_NORM, llama_map, rules, spots_around

DEFAULT = {"full_attention": 1_000_000.0, "sliding_attention": 10_000.0}
OLD = {"full_attention": "rope_theta", "sliding_attention": "rope_local_base_freq"}


def angles() -> Entry:
    """Rotary parameters of either kind of layers: the full ones, and those with windows."""

    def read(config: Values) -> Values:
        told, types = parameters(config) or {}, alternating(config, 6)
        nested = any(kind in told for kind in DEFAULT)
        found: dict[str, Any] = {}
        for kind in sorted({FULL, SLIDING} & set(types)):
            own = (told.get(kind) or {}) if nested else told if kind == FULL else {}
            base = own.get("rope_theta", config.get(OLD[kind], DEFAULT[kind]))
            at = f"other_{ATTENTION}" if kind == SLIDING and FULL in types else ATTENTION
            found |= turning(config, own, float(base or 0.0), 1.0, at)
        return found

    def write(held: Values) -> Values:
        other = f"other_{ATTENTION}"
        same = {name.removeprefix("other_"): value for name, value in held.items() if name.startswith(f"{other}.")}
        first, second = turned(held), turned({**held, **same})
        only = held[f"{ATTENTION}.window_left"] is not None
        return {"rope_parameters": {FULL: second if only else first, SLIDING: first if only else second}}

    return Entry(("rope_parameters", "rope_scaling", *OLD.values()), read, write)


MAP = llama_map(
    "hf.Gemma3",
    "Hugging Face Gemma3ForCausalLM and Gemma3TextModel, without a vision tower",
    "gemma3_text",
    rules=(*rules(FOUR), *QK_NORM),
    entries=(
        *entries("hidden_activation", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True),
        windows(period=6),
        angles(),
        scale(),
        follows("embedding_scale", lambda config: float(config["hidden_size"]) ** 0.5, "hidden_size"),
        key("head_dim", f"{ATTENTION}.head_width", default=256),
        key("rms_norm_eps", f"{ATTENTION}.qk_norm_eps", default=1e-6),
        key("attn_logit_softcapping", f"{ATTENTION}.softcap", default=None),
        key("final_logit_softcapping", "softcap", default=None),
        key("attention_bias", f"{ATTENTION}.use_bias", f"{ATTENTION}.output_bias", default=False),
    ),
    allowed={"use_bidirectional_attention": (False, None)},
    always={
        **ALWAYS,
        "layer.norm_place": "around",
        "layer.norm.zero_centered": True,
        "final_norm.zero_centered": True,
        f"{ATTENTION}.qk_norm": "rms_zero_centered",
    },
)

MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots_around, job)
