"""Hugging Face's Mistral: Llama with a window in every layer.

Source: ``transformers/models/mistral/modeling_mistral.py``.
"""

from __future__ import annotations

from attn_ref.foreign.entry import Entry, key
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch.llama_like import ATTENTION, entries, llama_map, rope, spots


def window() -> Entry:
    """The window, which counts the query's own key."""
    return key(
        "sliding_window",
        f"{ATTENTION}.window_left",
        default=4096,
        inward=lambda size: None if size is None else size - 1,
        outward=lambda left: None if left is None else left + 1,
    )


MAP = llama_map(
    "hf.Mistral",
    "Hugging Face MistralForCausalLM and MistralModel",
    "mistral",
    entries=(*entries(), rope(), window()),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face import run

    return run(MAP, spots, job)
