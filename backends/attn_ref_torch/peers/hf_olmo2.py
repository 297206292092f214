"""Hugging Face's OLMo 2: norms behind the sub-layers, and of query and key over all heads at once.

Source: ``transformers/models/olmo2/modeling_olmo2.py``.
"""

from __future__ import annotations

from attn_ref.foreign.entry import key
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_config import ATTENTION, entries
from attn_ref_torch.llama_like import ALWAYS, INSIDE, QK_NORM, llama_map, rules, spots_inside
from attn_ref_torch.llama_rotary import rope

MAP = llama_map(
    "hf.OLMo2",
    "Hugging Face Olmo2ForCausalLM and Olmo2Model",
    "olmo2",
    rules=(*rules(INSIDE), *QK_NORM),
    entries=(
        *entries(rms_norm_eps=1e-5),
        rope(),
        key("rms_norm_eps", f"{ATTENTION}.qk_norm_eps", default=1e-5),
        key("attention_bias", f"{ATTENTION}.use_bias", f"{ATTENTION}.output_bias", default=False),
    ),
    always={
        **ALWAYS,
        "layer.norm_place": "inside",
        f"{ATTENTION}.qk_norm": "rms",
        f"{ATTENTION}.qk_norm_over": "all",
    },
)

MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots_inside, job)
