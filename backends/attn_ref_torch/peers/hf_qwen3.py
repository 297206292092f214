"""Hugging Face's Qwen3: Llama with a norm of every head's query and key.

Source: ``transformers/models/qwen3/modeling_qwen3.py``.
"""

from __future__ import annotations

from attn_ref.foreign.entry import key
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_config import ATTENTION, entries, windows
from attn_ref_torch.llama_like import ALWAYS, QK_NORM, llama_map, rules, spots
from attn_ref_torch.llama_rotary import rope

MAP = llama_map(
    "hf.Qwen3",
    "Hugging Face Qwen3ForCausalLM and Qwen3Model",
    "qwen3",
    rules=(*rules(), *QK_NORM),
    entries=(
        *entries(),
        rope(),
        windows(switch=True),
        key("rms_norm_eps", f"{ATTENTION}.qk_norm_eps", default=1e-6),
        key("head_dim", f"{ATTENTION}.head_width", default=128),
        key("attention_bias", f"{ATTENTION}.use_bias", f"{ATTENTION}.output_bias", default=False),
    ),
    always={**ALWAYS, f"{ATTENTION}.qk_norm": "rms"},
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
