"""Hugging Face's Llama, 1 to 3: RMS norms before the sub-layers, rotary positions, SwiGLU, grouped heads.

Source: ``transformers/models/llama/modeling_llama.py``.
"""

from __future__ import annotations

from attn_ref.foreign.entry import key
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_config import ATTENTION, FEED, entries
from attn_ref_torch.llama_like import llama_map, spots
from attn_ref_torch.llama_rotary import rope

MAP = llama_map(
    "hf.Llama",
    "Hugging Face LlamaForCausalLM and LlamaModel",
    "llama",
    entries=(
        *entries(),
        rope(),
        key("attention_bias", f"{ATTENTION}.use_bias", f"{ATTENTION}.output_bias", default=False),
        key("mlp_bias", f"{FEED}.use_bias", default=False),
    ),
    allowed={"pretraining_tp": (1, None)},
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
