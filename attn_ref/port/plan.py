"""The plan of a conversion: where every tensor goes. It is made from names and shapes; no tensor is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.foreign.map import Map, Variant
from attn_ref.foreign.rules import LAYOUTS, Rule, turned_in, turned_out
from attn_ref.places import refuse_place
from attn_ref.port.checkpoint import FLOATS, Checkpoint, CheckpointError, Spec, quantised
from attn_ref.port.choose import anchored, describe, fit, left_out, source_map, target_map
from attn_ref.port.formats import format_of
from attn_ref.port.wrappers import opened

#: who says a field, where no file does
SET, MAPS_DEFAULT, DEFAULT = "--set", "the map's default", "the block's default"


@dataclass(frozen=True)
class Move:
    """One tensor's way: its names, and the change of layout on each side of the canonical one."""

    source: str
    inward: str
    canonical: str
    outward: str
    target: str
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    dtype: str

    def take(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """The tensor in the target's layout."""
        return LAYOUTS[self.outward].outward(LAYOUTS[self.inward].inward(tensors[self.source]))


@dataclass(frozen=True)
class Plan:
    """What goes where, and what the block is."""

    source: Path
    target: Path
    from_map: Map
    from_variant: Variant
    to_map: Map
    to_variant: Variant
    block: Block
    #: field -> who told it
    told: dict[str, str]
    moves: tuple[Move, ...]
    #: source name -> why it is left out
    unused: dict[str, str]
    #: the config.json that was read
    config: Path | None
    #: whose names the weights had at first, so that they can have them again
    origin: dict[str, str]
    #: what stands before the names of the map in the source: that of wrappers around the model
    prefix: str = ""
    #: what was found out on the way and has to be said, a line each
    said: tuple[str, ...] = ()

    def metadata(self) -> dict[str, Any]:
        """What the written file says about itself."""
        return {**self.block.as_data(), "map": self.to_map.name, "origin": self.origin}

    def tensors(self, source: Checkpoint) -> Checkpoint:
        """The target's tensors, each read from ``source`` and turned when it is asked for."""
        moves = {move.target: move for move in self.moves}
        specs = {name: Spec(move.target_shape, move.dtype) for name, move in moves.items()}
        return Checkpoint(specs, lambda name: moves[name].take(source), path=self.source)

    def canonical(self, source: Checkpoint) -> dict[str, np.ndarray]:
        """The canonical weights in float64."""
        return {m.canonical: LAYOUTS[m.inward].inward(source[m.source]).astype(np.float64) for m in self.moves}

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        fields = self.block.as_data()["fields"]
        return {
            "source": str(self.source),
            "target": str(self.target),
            "from": {"map": self.from_map.name, **self.from_variant._asdict()},
            "to": {"map": self.to_map.name, **self.to_variant._asdict()},
            "block": type(self.block).__name__,
            "fields": {name: {"value": value, "by": self.told[name]} for name, value in fields.items()},
            "moves": [asdict(move) for move in self.moves],
            "unused": self.unused,
            "prefix": self.prefix,
            "said": list(self.said),
        }


def make_plan(
    whole: Checkpoint,
    target: Path,
    *,
    from_: str | None,
    to: str | None,
    settings: Mapping[str, Any],
    prefix: str | None = None,
    drop: Sequence[str] = (),
) -> Plan:
    """Choose maps and block, and give every tensor its place. CheckpointError that lists all that does not fit."""
    refuse_place(target)
    inside = opened(whole, lambda names: fit(names, from_), prefix=prefix, drop=drop)
    source = inside.view
    from_map = source_map(source, from_)
    to_map = target_map(target, to)
    form = format_of(target)
    if form.NAME not in to_map.formats or not form.WRITES or not is_written(target):
        endings = [s for s in (".safetensors", ".weights.h5", ".npz") if format_of(Path(s)).NAME in to_map.formats]
        raise CheckpointError(f"{target}: files of map {to_map.name} are written as {' or '.join(endings)}")
    block, told, variant, config = describe(source, from_map, to_map, settings)
    name = type(block).__name__
    if to_map.block not in (None, name):
        raise CheckpointError(f"map {to_map.name} is for {to_map.block}; {source.path} holds {name}")
    for item in (from_map, to_map):
        if lines := item.inexpressible(block):
            raise CheckpointError("\n".join(lines))
    if not block.params():
        raise CheckpointError(f"{name} has no parameters; there is nothing to move")

    origin = source.metadata.get("origin")
    if from_map.block or not isinstance(origin, dict):  # the names that a file of a generic map had before are kept
        origin = {"map": from_map.name, **variant._asdict()}
    to_variant = remembered(origin, to_map)

    rules = {from_map.spell(rule.foreign, variant, name): rule for rule in from_map.rules_for(block)}
    unused = {key: why for key in source if key not in rules and (why := left_out(from_map, key, variant, name))}
    if lines := differences(source, block, rules, unused):
        title = f"{source.path} does not hold the weights of this {name} under map {from_map.name}"
        count = f"{len(lines)} difference{'s' if len(lines) > 1 else ''}{hint(from_map, source, prefix)}"
        raise CheckpointError(f"{title}: {count}\n  " + "\n  ".join(shortened(lines)))
    unused = inside.left | {inside.name(key): why for key, why in unused.items()}
    unused |= {key: f"{what}, no tensor" for key, what in source.left.items()}
    outward = {rule.canonical: rule for rule in to_map.rules_for(block)}
    moves = []
    for key, rule in rules.items():
        there, (shape, dtype) = outward[rule.canonical], source.specs[key]
        arrived = turned_out(turned_in(shape, rule.layout), there.layout)
        new = to_map.spell(there.foreign, to_variant, name)
        moves.append(Move(inside.name(key), rule.layout, rule.canonical, there.layout, new, shape, arrived, dtype))
    return Plan(
        source=source.path or Path(), target=target, from_map=from_map, from_variant=variant, to_map=to_map,
        to_variant=to_variant, block=block, told=told, moves=tuple(moves), unused=unused, config=config, origin=origin,
        prefix=inside.prefix, said=(*whole.said, *inside.said),
    )  # fmt: skip


def hint(item: Map, source: Checkpoint, prefix: str | None) -> str:
    """Where the names of ``item`` are, if they are deeper in the file."""
    if prefix is None and (way := anchored(item, source)):
        return f"; the names of {item.name} are those below {way}: --prefix {way}"
    return ""


def is_written(target: Path) -> bool:
    """Has ``target`` the ending that its format is written under? The others, indices and archives, are only read."""
    fitting = [suffix for suffix in format_of(target).SUFFIXES if target.name.endswith(suffix)]
    return max(fitting, key=len) == format_of(target).SUFFIXES[0]


def differences(source: Checkpoint, block: Block, rules: Mapping[str, Rule], unused: Mapping[str, str]) -> list[str]:
    """What is missing, unexpected, misshapen or no weight in ``source``, a line each."""
    params = block.params()
    wanted = {key: turned_out(params[rule.canonical].shape, rule.layout) for key, rule in rules.items()}
    lines = [f"missing: {key} {shape_of(shape)}" for key, shape in wanted.items() if key not in source.specs]
    for key, (shape, dtype) in source.specs.items():
        if key in unused:
            continue
        if key not in wanted:
            lines.append(f"unexpected: {key} {shape_of(shape)}")
        elif shape != wanted[key]:
            lines.append(f"wrong shape: {key} should be {shape_of(wanted[key])}, got {shape_of(shape)}")
        elif dtype not in FLOATS:
            lines.append(f"wrong dtype: {key} is {dtype}; weights are {', '.join(FLOATS)}{quantised(dtype)}")
    return lines


def shortened(lines: list[str], most: int = 6) -> list[str]:
    """The first few lines of each kind, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kinds.setdefault(line.partition(":")[0], []).append(line)
    return [
        line
        for kind, all_of_it in kinds.items()
        for line in (
            *all_of_it[:most], *([f"{kind}: and {len(all_of_it) - most} more"] if len(all_of_it) > most else [])
        )
    ]  # fmt: skip


def remembered(origin: Mapping[str, Any], to_map: Map) -> Variant:
    """The spelling that the weights had at first, if that was this map's; its default otherwise."""
    variant = Variant(str(origin.get("prefix", "")), str(origin.get("spelling", "")))
    known = to_map.variants()
    return variant if origin.get("map") == to_map.name and variant in known else known[0]


def shape_of(shape: tuple[int, ...]) -> str:
    """'(2, 3)'."""
    return "(" + ", ".join(map(str, shape)) + ")"
