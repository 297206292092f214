"""Hugging Face's Mistral: Llama with a window in every layer.

Source: ``transformers/models/mistral/modeling_mistral.py``.
"""

from __future__ import annotations

from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_config import entries, window
from attn_ref_torch.llama_like import llama_map, spots
from attn_ref_torch.llama_rotary import rope

MAP = llama_map(
    "hf.Mistral",
    "Hugging Face MistralForCausalLM and MistralModel",
    "mistral",
    entries=(*entries(), rope(), window(4096)),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
