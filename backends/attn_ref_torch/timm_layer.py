"""What single layers of timm share as peers and as maps: what they need, and how their files lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attn_ref.block import Block
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Peer
from attn_ref.foreign.rules import Rule

NEEDS = ("torch", "timm")
#: what a batch norm of torch keeps besides
COUNTS = {"*.num_batches_tracked": "a count of steps, which a batch norm with a momentum never looks at"}


def peer(name: str, block: str, **own: Any) -> Peer:
    """A layer that runs beside the block of that name; ``own``: what else a peer says."""
    told = {"inputs": ("x",), "call": on_image, **own}
    return Peer(name=name, block=block, engine="torch", needs=NEEDS, **told)


def layer_map(name: str, summary: str, block: str, **own: Any) -> Map:
    """The map of its files, which is taken by name alone; ``own``: what else a map says."""
    told = {"inputs": ("x",), **own}
    return Map(
        name=name, summary=summary, block=block, formats=("safetensors", "torch_pt"), needs=NEEDS, extra="torch",
        by_name=True, **told,
    )  # fmt: skip


def on_image(layer: Any, block: Block, given: Mapping[str, Any]) -> Any:
    """The layer on canonical inputs, channels first."""
    return layer(given["x"])


def present(rules: Iterable[Rule]) -> Callable[[Block], Iterator[Rule]]:
    """The names of a block's parameters: the rules of those that it has."""
    return lambda block: (rule for rule in rules if rule.canonical in block.params())
