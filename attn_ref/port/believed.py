"""What a proof takes for granted: fields that no file says, so that both ends are run by the same belief."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from attn_ref.block import Block
from attn_ref.foreign.map import Map
from attn_ref.foreign.nested import at
from attn_ref.option import NONE_GIVEN, options
from attn_ref.port.plan import DEFAULT, MAPS_DEFAULT, SET, Plan

#: who says what is only believed
SAYINGS = (SET, MAPS_DEFAULT, DEFAULT)
#: so many other values of a field are tried
TRIED = 4


def believed(plan: Plan) -> dict[str, str]:
    """Field -> who says it, where no file does, and the result of the model depends on it.

    Where there is a ``config.json``, the source is run by it and not by what was said: then nothing is only believed.
    Nor is what such files cannot mean otherwise, which is as the program computes it that runs them.
    """
    if plan.config:
        return {}
    beside = plan.from_map.beside
    return {
        name: by
        for name, by in plan.told.items()
        if by in SAYINGS
        and name not in beside
        and "dropout" not in name
        and has(plan.block, name)
        and any(means(plan.from_map, name, other) for other in others(plan.block, name))
    }


def means(item: Map, name: str, other: Block) -> bool:
    """Can files of the map mean ``other``, a block with another value of a field?

    Where one key of a config says several fields, as one eps for all norms, one of them by itself is no file's.
    """
    if item.fields and item.fields.blocks:
        return name not in item.fields.always
    return not item.inexpressible(other)


def others(block: Block, name: str) -> Iterator[Block]:
    """The block with other values of a field, as far as it has the same parameters then."""
    shapes, fields = {key: param.shape for key, param in block.params().items()}, block.fields()
    for value in values(block, name):
        try:
            other = type(block).build({**fields, name: value})
            if {key: param.shape for key, param in other.params().items()} == shapes:
                yield other
        except (ValueError, TypeError):  # the block has no such value, or not beside its other fields
            continue


def has(block: Block, name: str) -> bool:
    """Has the block such a field? One inside ``other_layer`` is told by how it differs."""
    try:
        holder, inner = at(block, name)
    except AttributeError:
        return False
    return hasattr(holder, inner)


def values(block: Block, name: str) -> list[Any]:
    """Other values that a field might have had."""
    holder, inner = at(block, name)
    got = getattr(holder, inner)
    said, _ = options(type(holder)).get(inner, (None, frozenset()))
    found: list[Any] = [] if said is None else [*said.choices, *said.draw]
    if said is not None and said.witness is not NONE_GIVEN:
        found.append(said.witness)
    if isinstance(got, bool):
        found.append(not got)
    elif isinstance(got, int):
        found += [got * 2, got // 2, got * 3, got // 3, got + 1]
    elif isinstance(got, float):
        found += [got * 10, got / 10]
    return [value for value in found if type(value) is not type(got) or value != got]


def words(plan: Plan, names: dict[str, str]) -> str:
    """``num_heads=8 (--set); the defaults of causal, window``."""
    told = [f"{name}={attrgetter(name)(plan.block)} ({by})" for name, by in names.items() if by != DEFAULT]
    defaults = [name for name, by in names.items() if by == DEFAULT]
    if defaults:
        told.append(f"the block's default{'s' if len(defaults) > 1 else ''} of {', '.join(defaults)}")
    return ", ".join(told)
