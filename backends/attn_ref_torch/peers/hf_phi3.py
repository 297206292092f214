"""Hugging Face's Phi-3: Llama with query, key and value in one kernel, and gate and expansion in another.

Source: ``transformers/models/phi3/modeling_phi3.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attn_ref.foreign.entry import key
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule
from attn_ref_torch import llama_like
from attn_ref_torch.llama_config import entries, window
from attn_ref_torch.llama_like import BEFORE, LAYER, llama_map, rules
from attn_ref_torch.llama_rotary import rope

PACKED = {"q_proj": 0, "k_proj": 1, "v_proj": 2}


def packed() -> Iterator[Rule]:
    """The rules, with equal shares: names and order are those of any sizes."""
    for rule in rules():
        *path, name, leaf = rule.foreign.split(".")
        if leaf == "bias":
            continue
        if name in PACKED:
            here = ".".join([*path, "qkv_proj", leaf])
            yield replace(rule, foreign=here, part=Part(PACKED[name], 1, 3))
        elif name in ("gate_proj", "up_proj"):
            here = ".".join([*path, "gate_up_proj", leaf])
            yield replace(rule, foreign=here, part=Part(int(name == "up_proj"), 1, 2))
        else:
            yield rule


NAMES = llama_map(
    "hf.Phi3",
    "Hugging Face Phi3ForCausalLM and Phi3Model",
    "phi3",
    rules=tuple(packed()),
    entries=(
        *entries(rms_norm_eps=1e-5),
        rope(partial="partial_rotary_factor"),
        window(None),
        key("resid_pdrop", "layer.dropout", default=0.0),
    ),
)


def derive(block: Any) -> Iterator[Rule]:
    """The rules of ``block``, which says how many heads there are of queries, and how many of keys and values."""
    heads, groups = block.layer.attention.num_heads, block.layer.attention.kv_heads
    of = heads + 2 * groups
    parts = {"query": Part(0, heads, of), "key": Part(heads, groups, of), "value": Part(heads + groups, groups, of)}
    for rule in NAMES.rules_for(block):
        name = rule.canonical.split(".")[-2]
        yield replace(rule, part=parts[name]) if ".attention." in rule.canonical and name in parts else rule


MAP = replace(NAMES, derive=derive)

MAPS = (MAP,)

#: what is packed has no tap of its own
OWN = [spot for spot in LAYER if spot[0] not in ("mlp.gate_proj", "mlp.up_proj", "mlp.act_fn")]


def spots(block: Any) -> Iterator[Spot]:
    """Where the taps are."""
    active = ("mlp.activation_fn", "out", "feed_forward.active", "b t f")
    return llama_like.spots(block, [*OWN, *BEFORE, active], apart=False)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
