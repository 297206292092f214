"""Hugging Face's GPT-OSS with dense weights: experts, sinks, a window in every other layer.

Source: ``transformers/models/gpt_oss/modeling_gpt_oss.py``. Gate and expansion of all experts are one tensor, feature
by feature in turn. Published files have experts in MXFP4, four bits a number, and are refused; transformers writes
dense ones (``Mxfp4Config(dequantize=True)``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attn_ref.foreign.entry import Entry, Values, key
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, linear
from attn_ref_torch import llama_like
from attn_ref_torch.llama_config import ATTENTION, FEED, entries, windows
from attn_ref_torch.llama_like import ALWAYS, ASKED, BEFORE, BLOCKS, HERE, LAYER, SIZES, THERE, llama_map, rules
from attn_ref_torch.llama_rotary import rope

EXPERTS, OURS = f"{HERE}.mlp.experts", f"{THERE}.feed_forward"
#: what transformers takes where a config is silent
ROPE = {
    "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
    "original_max_position_embeddings": 4096,
}  # fmt: skip
TURN = rope(base=150000.0)


def turned(config: Values) -> Values:
    """Rotary positions, YaRN's where nothing is said of them."""
    silent = not (config.get("rope_parameters") or config.get("rope_scaling"))
    return TURN.read({**config, "rope_parameters": ROPE} if silent else config)


def apart(features: int) -> Iterator[Rule]:
    """The rules of the experts, gate and expansion being neighbours ``features`` times."""
    for i, name in enumerate(("gate", "expand")):
        yield Rule(f"{EXPERTS}.gate_up_proj", f"{OURS}.{name}_kernels", part=Part(i, 1, 2, axis=2, groups=features))
        yield Rule(f"{EXPERTS}.gate_up_proj_bias", f"{OURS}.{name}_biases", part=Part(i, 1, 2, 1, features))
    yield Rule(f"{EXPERTS}.down_proj", f"{OURS}.reduce_kernels")
    yield Rule(f"{EXPERTS}.down_proj_bias", f"{OURS}.reduce_biases")


def others() -> Iterator[Rule]:
    """The rules of what is as in Llama, of the sinks and of the router."""
    yield from (rule for rule in rules() if ".mlp." not in rule.foreign)
    yield Rule(f"{HERE}.self_attn.sinks", f"{THERE}.attention.sinks")
    yield from linear(f"{HERE}.mlp.router", f"{OURS}.router")


NAMES = llama_map(
    "hf.GptOss",
    "Hugging Face GptOssForCausalLM and GptOssModel, with dense weights",
    "gpt_oss",
    rules=(*others(), *apart(1)),
    entries=(
        *[entry for entry in entries(rms_norm_eps=1e-5) if entry.keys != ("hidden_act",)],
        Entry(TURN.keys, turned, TURN.write),
        windows(period=2),
        key("head_dim", f"{ATTENTION}.head_width", default=64),
        key("attention_bias", f"{ATTENTION}.use_bias", f"{ATTENTION}.output_bias", default=True),
        key("num_local_experts", f"{FEED}.num_experts", default=128),
        key("num_experts_per_tok", f"{FEED}.experts_per_token", default=4),
        key("swiglu_limit", f"{FEED}.limit", default=7.0),
    ),
    allowed={"hidden_act": ("silu",), "swiglu_alpha": (1.702,), "quantization_config": (None,)},
    blocks={**BLOCKS, FEED: "MixtureOfExperts"},
    sizes={
        **SIZES,
        f"{FEED}.hidden_width": ("layers.0.feed_forward.reduce_kernels", 1),
        f"{FEED}.num_experts": ("layers.0.feed_forward.reduce_kernels", 0),
    },
    asked=(*[name for name in ASKED if name != f"{FEED}.activation"], f"{FEED}.experts_per_token"),
    always={
        **{name: value for name, value in ALWAYS.items() if not name.endswith("use_bias")},
        f"{ATTENTION}.use_sinks": True, f"{FEED}.activation": "quick_gelu", f"{FEED}.shift": 1.0,
        f"{FEED}.use_bias": True, f"{FEED}.router_bias": True,
    },
)  # fmt: skip


def derive(block: Any) -> Iterator[Rule]:
    """The rules of ``block``, which says how many features an expert has."""
    features = block.layer.feed_forward.hidden_width
    for rule in NAMES.rules_for(block):
        yield replace(rule, part=rule.part._replace(groups=features)) if rule.part else rule


MAP = replace(NAMES, derive=derive)
MAPS = (MAP,)

#: tokens are in one row when they are routed, and what an expert computes is its own tokens' alone
OWN = [spot for spot in LAYER if not spot[0].startswith("mlp.")]


def spots(block: Any) -> Iterator[Spot]:
    """Where the taps are."""
    mixed = ("mlp", "out", "feed_forward.mixed", "b t c")
    return llama_like.spots(block, [*OWN, *BEFORE, mixed])


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    # its default multiplies all experts' matrices in one call, which torch has not in float64
    return run(MAP, spots, job, lambda model: model.set_experts_implementation("eager"))
