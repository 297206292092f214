"""Hugging Face's Gemma 3, the text model: Gemma 2 with norms of query and key, and angles of their own in windows.

Source: ``transformers/models/gemma3/modeling_gemma3.py``.
"""

from __future__ import annotations

from attn_ref.foreign.entry import key
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_config import ATTENTION, FULL, SLIDING, entries, follows, scale, windows
from attn_ref_torch.llama_like import ALWAYS, FOUR, QK_NORM, llama_map, rules, spots_around
from attn_ref_torch.llama_rotary import angles

MAP = llama_map(
    "hf.Gemma3",
    "Hugging Face Gemma3ForCausalLM and Gemma3TextModel, without a vision tower",
    "gemma3_text",
    rules=(*rules(FOUR), *QK_NORM),
    entries=(
        *entries("hidden_activation", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True),
        windows(period=6),
        angles({FULL: 1_000_000.0, SLIDING: 10_000.0}, {FULL: "rope_theta", SLIDING: "rope_local_base_freq"}, 6),
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
