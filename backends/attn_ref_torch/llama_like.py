"""What the families that followed Llama share: names, and where taps are.

A family is one file in ``peers``: it takes what is here, and adds or changes what is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule, linear
from attn_ref_torch.llama_config import ATTENTION, FEED, WIDTHS, entries

HERE, THERE = "layers.{i}", "layers.{i}"
BLOCKS = {
    "layer": "TransformerLayer", ATTENTION: "MultiHeadAttention", FEED: "GatedFeedForward", "layer.norm": "RMSNorm",
    "final_norm": "RMSNorm",
}  # fmt: skip
ALWAYS: Mapping[str, Any] = {
    f"{ATTENTION}.causal": "bottom_right", f"{ATTENTION}.rotary": "half", "layer.norm_place": "before",
    f"{ATTENTION}.use_bias": False, f"{ATTENTION}.output_bias": False, f"{FEED}.use_bias": False,
}  # fmt: skip
ASKED = (f"{ATTENTION}.num_heads", f"{ATTENTION}.rotary_base", f"{FEED}.activation", "layer.norm.eps", "final_norm.eps")
SIZES = {
    "vocab_size": ("token.embedding", 0),
    **dict.fromkeys(WIDTHS, ("token.embedding", 1)),
    f"{FEED}.hidden_width": ("layers.0.feed_forward.reduce.kernel", 0),
}
#: the layer's own names of its norms -> ours
NORMS = {"input_layernorm": "attention_norm", "post_attention_layernorm": "feed_forward_norm"}


def rules(norms: Mapping[str, str] = NORMS) -> tuple[Rule, ...]:
    """The rules of Llama's names, below ``model.``."""
    names = {
        "self_attn.q_proj": "attention.query", "self_attn.k_proj": "attention.key",
        "self_attn.v_proj": "attention.value", "self_attn.o_proj": "attention.project",
        "mlp.gate_proj": "feed_forward.gate", "mlp.up_proj": "feed_forward.expand",
        "mlp.down_proj": "feed_forward.reduce",
    }  # fmt: skip
    return (
        Rule("embed_tokens.weight", "token.embedding"),
        *[rule for own, our in names.items() for rule in linear(f"{HERE}.{own}", f"{THERE}.{our}")],
        *[Rule(f"{HERE}.{own}.weight", f"{THERE}.{our}.scale") for own, our in norms.items()],
        Rule("norm.weight", "final_norm.scale"),
        Rule("lm_head.weight", "head.kernel", "transpose"),
    )  # fmt: skip


def llama_map(name: str, summary: str, model_type: str, **changes: Any) -> Map:
    """A map like Llama's; ``changes`` are of its rules of fields, or ``rules``."""
    own = changes.pop("rules", rules())
    derive = changes.pop("derive", None)
    allowed = {"model_type": (model_type,), **changes.pop("allowed", {})}
    told = {"sizes": SIZES, "blocks": BLOCKS, "always": ALWAYS, "asked": ASKED, "entries": entries(), **changes}
    return Map(
        name=name,
        summary=summary,
        formats=("safetensors", "torch_pt"),
        needs=("torch", "transformers"),
        extra="port",
        block="LanguageModel",
        rules=own,
        derive=derive,
        unused={"*.rotary_emb.inv_freq": "a buffer of older versions: the frequencies of the angles"},
        prefixes=("model.", ""),
        outside=("lm_head.weight",),
        twins={"lm_head.weight": "embed_tokens.weight"},
        inputs=("token_ids", "padding_mask"),
        fields=FieldRules(unsaid={"head": ("head.kernel", "own", None)}, allowed=allowed, **told),
    )


#: module of a layer -> tap, of what comes out, or what goes in, or is read there
LAYER = [
    ("self_attn.o_proj", "in", "attention.merged", "b t c"),
    ("self_attn.o_proj", "out", "attention.projected", "b t c"),
    ("mlp.gate_proj", "out", "feed_forward.gate", "b t f"),
    ("mlp.act_fn", "out", "feed_forward.active", "b t f"),
    ("mlp.up_proj", "out", "feed_forward.hidden", "b t f"),
    ("mlp.down_proj", "in", "feed_forward.gated", "b t f"),
    ("mlp.down_proj", "out", "feed_forward.reduced", "b t c"),
]
BEFORE = [
    ("input_layernorm", "out", "attention_norm.scaled", "b t c"),
    ("post_attention_layernorm", "read", "attended", "b t c"),
    ("post_attention_layernorm", "out", "feed_forward_norm.scaled", "b t c"),
]


#: of layers with norms behind the sub-layers
INSIDE = {"post_attention_layernorm": "attention_norm", "post_feedforward_layernorm": "feed_forward_norm"}
#: the rules of norms of query and key
QK_NORM = tuple(
    Rule(f"{HERE}.self_attn.{own}_norm.weight", f"{THERE}.attention.{our}_norm.scale")
    for own, our in {"q": "query", "k": "key"}.items()
)


def spots_inside(block: Any) -> Iterator[Spot]:
    """Where the taps of layers with norms behind the sub-layers are."""
    return spots(block, [*LAYER, *[(own, "out", f"{our}.scaled", "b t c") for own, our in INSIDE.items()]])


#: of layers with norms before and behind both sub-layers
FOUR = {
    "input_layernorm": "attention_norm", "post_attention_layernorm": "attention_post_norm",
    "pre_feedforward_layernorm": "feed_forward_norm", "post_feedforward_layernorm": "feed_forward_post_norm",
}  # fmt: skip
AROUND = [
    *[(own, "out", f"{our}.scaled", "b t c") for own, our in FOUR.items()],
    ("pre_feedforward_layernorm", "read", "attended", "b t c"),
]


def spots_around(block: Any) -> Iterator[Spot]:
    """Where the taps of such layers are."""
    return spots(block, [*LAYER, *AROUND])


def spots(block: Any, layer: list[tuple[str, str, str, str]] | None = None, apart: bool = True) -> Iterator[Spot]:
    """Where the taps are; ``apart``: have query, key and value a layer each?"""
    inside = "model." if block.head else ""
    yield Spot(f"{inside}embed_tokens", "out", "embedded", "b t c")
    for i, own in enumerate(block.layers if apart else ()):
        here, there = f"{inside}layers.{i}.self_attn", f"layers.{i}.attention"
        heads, groups = own.attention.num_heads, own.attention.kv_heads
        yield Spot(f"{here}.q_proj", "heads", f"{there}.query", "b h t d", heads)
        yield Spot(f"{here}.k_proj", "heads", f"{there}.key", "b g s d", groups)
        yield Spot(f"{here}.v_proj", "heads", f"{there}.value", "b g s e", groups)
    yield from of_layers(f"{inside}layers", block.num_layers, [*LAYER, *BEFORE] if layer is None else layer)
    yield Spot(f"{inside}norm", "out", "final_norm.scaled", "b t c")
    if block.head:
        yield Spot("lm_head", "out", "logits", "b t v")
