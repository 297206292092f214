"""Fields of blocks in blocks, as names with dots: ``layer.attention.num_heads``.

Of a second kind of layers, ``other_layer``, only what is not as in ``layer`` is told: its window, say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attn_ref.block import Block

#: a block that is told by how it differs from another
LIKE = {"other_layer": "layer"}
#: field that may be left to others -> the property that says what it is then
DERIVED = {
    "head_width": "d", "num_kv_heads": "kv_heads", "key_width": "key_in", "value_width": "value_in",
    "value_head_width": "e",
}  # fmt: skip


def folded(told: Mapping[str, Any], blocks: Mapping[str, str]) -> dict[str, Any]:
    """Fields with dots as ``Block.build`` takes them; ``blocks``: path -> name of the block there."""
    tree: dict[str, Any] = {}
    for other, first in LIKE.items():
        if any(name.startswith(f"{other}.") for name in told):
            alike = {f"{other}{n[len(first) :]}": v for n, v in told.items() if n.startswith(f"{first}.")}
            told = {**alike, **told}
            own = {f"{other}{path[len(first) :]}": kind for path, kind in blocks.items() if inside(path, first)}
            blocks = {**own, **blocks}
    for path in sorted(blocks, key=lambda path: path.count(".")):
        if any(name.startswith(f"{path}.") for name in told):
            where(tree, path)[path.rpartition(".")[2]] = {"block": blocks[path], "fields": {}}
    for name, value in told.items():
        where(tree, name)[name.rpartition(".")[2]] = value
    return tree


def where(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields among which a name stands."""
    for part in name.split(".")[:-1]:
        tree = tree[part]["fields"]
    return tree


def inside(path: str, outer: str) -> bool:
    """Is it ``outer`` itself, or below it?"""
    return path == outer or path.startswith(f"{outer}.")


def flat(block: Block, blocks: Mapping[str, str]) -> dict[str, Any]:
    """Every field by its name with dots; that of a block at none of the paths in ``blocks`` is the block.

    What a field leaves to others is told as what it is.
    """
    found = dict(leaves(block, blocks, ""))
    for other, first in LIKE.items():
        part = getattr(block, other, None)
        if part is not None and first in blocks:
            own = {path[len(first) + 1 :]: kind for path, kind in blocks.items() if path.startswith(f"{first}.")}
            its = {f"{first}.{name}": value for name, value in leaves(part, own, "").items()}
            del found[other]
            for name, value in its.items():
                if value != found.get(name):
                    found[f"{other}{name[len(first) :]}"] = value
    return found


def leaves(block: Block, blocks: Mapping[str, str], before: str) -> dict[str, Any]:
    """The fields below a path."""
    found: dict[str, Any] = {}
    for name, value in block.fields().items():
        path, value = f"{before}{name}", getattr(block, DERIVED.get(name, name), value)
        if path in blocks and type(value).__name__ == blocks[path]:
            found |= leaves(value, blocks, f"{path}.")
        else:
            found[path] = value
    return found


def at(block: Block, name: str) -> tuple[Block, str]:
    """The block that has a field, and the field's own name there."""
    outer, _, inner = name.rpartition(".")
    for part in outer.split(".") if outer else ():
        block = getattr(block, part)
    return block, inner
