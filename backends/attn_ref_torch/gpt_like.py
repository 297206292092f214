"""What the families with layer norms and plain feed-forward networks share: GPT-2, GPT-NeoX, BLOOM and MPT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from attn_ref.foreign.map import Map
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule

ATTENTION, FEED = "layer.attention", "layer.feed_forward"
WIDTHS = ("width", "layer.width", f"{ATTENTION}.width", f"{FEED}.width", "layer.norm.width", "final_norm.width")
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
BLOCKS = {
    "layer": "TransformerLayer", ATTENTION: "MultiHeadAttention", FEED: "FeedForward", "layer.norm": "LayerNorm",
    "final_norm": "LayerNorm",
}  # fmt: skip
SIZES = {
    "vocab_size": ("token.embedding", 0),
    **dict.fromkeys(WIDTHS, ("token.embedding", 1)),
    f"{FEED}.hidden_width": ("layers.0.feed_forward.expand.kernel", 1),
}
PREFIXED: Mapping[str, Any] = {
    "formats": ("safetensors", "torch_pt"), "needs": ("torch", "transformers"), "extra": "port",
    "block": "LanguageModel", "inputs": ("token_ids", "padding_mask"),
}  # fmt: skip


def thirds(foreign: str, canonical: str) -> Iterator[Rule]:
    """The rules of query, key and value in one linear layer, a third each."""
    for n, name in enumerate(("query", "key", "value")):
        yield Rule(f"{foreign}.weight", f"{canonical}.{name}.kernel", "transpose", Part(n, 1, 3))
        yield Rule(f"{foreign}.bias", f"{canonical}.{name}.bias", part=Part(n, 1, 3))


def by_head(names: Map) -> Callable[[Any], Iterator[Rule]]:
    """The rules of a block under ``names``, where every head has its query, key and value together."""

    def derive(block: Any) -> Iterator[Rule]:
        heads = block.layer.attention.num_heads
        for rule in names.rules_for(block):
            yield replace(rule, part=rule.part._replace(groups=heads)) if rule.part else rule

    return derive


def spots_of(base: str, layers: str, embedded: Spot, last: str, layer: list[tuple[str, str, str, str]]) -> Any:
    """Where the taps are, of a model whose base is called ``base``."""

    def spots(block: Any) -> Iterator[Spot]:
        inside = f"{base}." if block.head else ""
        yield embedded._replace(module=f"{inside}{embedded.module}")
        yield from of_layers(f"{inside}{layers}", block.num_layers, layer)
        tap = "final_norm.shifted" if block.final_norm.use_offset else "final_norm.scaled"
        yield Spot(f"{inside}{last}", "out", tap, "b t c")
        if block.head:
            yield Spot("lm_head", "out", "logits", "b t v")

    return spots
