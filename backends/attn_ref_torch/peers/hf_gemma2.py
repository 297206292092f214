"""Hugging Face's Gemma 2: norms around the sub-layers, γ − 1, soft caps, windows in every other layer.

Source: ``transformers/models/gemma2/modeling_gemma2.py``.
"""

from __future__ import annotations

from attn_ref.foreign.entry import key
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_config import ATTENTION, entries, follows, scale, windows
from attn_ref_torch.llama_like import ALWAYS, FOUR, llama_map, rules, spots_around
from attn_ref_torch.llama_rotary import rope

MAP = llama_map(
    "hf.Gemma2",
    "Hugging Face Gemma2ForCausalLM and Gemma2Model",
    "gemma2",
    rules=rules(FOUR),
    entries=(
        *entries("hidden_activation", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True),
        rope(),
        windows(period=2),
        scale(),
        follows("embedding_scale", lambda config: float(config["hidden_size"]) ** 0.5, "hidden_size"),
        key("head_dim", f"{ATTENTION}.head_width", default=256),
        key("attn_logit_softcapping", f"{ATTENTION}.softcap", default=50.0),
        key("final_logit_softcapping", "softcap", default=30.0),
        key("attention_bias", f"{ATTENTION}.use_bias", f"{ATTENTION}.output_bias", default=False),
    ),
    allowed={"use_bidirectional_attention": (None, False)},
    always={**ALWAYS, "layer.norm_place": "around", "layer.norm.zero_centered": True, "final_norm.zero_centered": True},
)

MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots_around, job)
