"""Hugging Face's Qwen2 and Qwen2.5: Llama with biases of query, key and value.

Source: ``transformers/models/qwen2/modeling_qwen2.py``.
"""

from __future__ import annotations

from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_config import ATTENTION, entries, windows
from attn_ref_torch.llama_like import ALWAYS, llama_map, spots
from attn_ref_torch.llama_rotary import rope

MAP = llama_map(
    "hf.Qwen2",
    "Hugging Face Qwen2ForCausalLM and Qwen2Model",
    "qwen2",
    entries=(*entries(), rope(), windows(switch=True)),
    always={**ALWAYS, f"{ATTENTION}.use_bias": True},
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
