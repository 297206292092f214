"""The plan of a conversion: where every tensor goes. It is made from names and shapes; no tensor is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.foreign.map import Map, Variant
from attn_ref.foreign.part import Part
from attn_ref.foreign.rules import LAYOUTS, Rule, part_of, shape_out
from attn_ref.places import refuse_place
from attn_ref.port.checkpoint import FLOATS, Checkpoint, CheckpointError, Spec, Way, quantised
from attn_ref.port.choose import anchored, describe, fit, left_out, source_map, target_map
from attn_ref.port.formats import format_of
from attn_ref.port.heads import Head, heads
from attn_ref.port.wrappers import opened

#: who says a field, where no file does
SET, MAPS_DEFAULT, DEFAULT = "--set", "the map's default", "the block's default"
#: bytes of two tensors that are compared at a time
PIECE = 1 << 22


@dataclass(frozen=True)
class Move:
    """One parameter's way: its names, and the change of layout on each side of the canonical one."""

    source: str
    inward: str
    canonical: str
    outward: str
    target: str
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    dtype: str
    #: which part of the source's tensor it is, and of the target's; None: all of it
    source_part: Part | None = None
    target_part: Part | None = None

    def canonical_of(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """The parameter in canonical layout."""
        found: np.ndarray = LAYOUTS[self.inward].inward(part_of(tensors[self.source], self.source_part))
        return found

    def take(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """The tensor in the target's layout, or its part of it."""
        found: np.ndarray = LAYOUTS[self.outward].outward(self.canonical_of(tensors))
        return found

    def way(self, source: Checkpoint) -> Way | None:
        """How the target's tensor comes from bytes in the source's file; None for one that is put together of parts."""
        way = None if self.target_part else source.way(self.source)
        if way is None:
            return None
        part = self.source_part
        if part and part.in_one_piece:
            shape = part.shape(way.shape)
            start = prod(way.shape) // (part.of * part.groups) * part.start * way.dtype.itemsize
            way, part = way._replace(offset=way.offset + start, shape=shape), None
        here, there = LAYOUTS[self.inward], LAYOUTS[self.outward]
        turned = here.turns or there.turns
        if part is None and (not turned or (self.inward == self.outward and way.shape == self.target_shape)):
            return way
        return way._replace(view=lambda x: there.outward(here.inward(part_of(x, part))))


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
    #: heads among what is left out, which can be carried beside the target
    heads: tuple[Head, ...] = ()

    def metadata(self) -> dict[str, Any]:
        """What the written file says about itself."""
        return {**self.block.as_data(), "map": self.to_map.name, "origin": self.origin}

    def tensors(self, source: Checkpoint) -> Checkpoint:
        """The target's tensors, each read from ``source`` and turned when it is asked for."""
        moves: dict[str, list[Move]] = {}
        for move in self.moves:
            moves.setdefault(move.target, []).append(move)
        specs = {name: Spec(parts[0].target_shape, parts[0].dtype) for name, parts in moves.items()}

        def load(name: str) -> np.ndarray:
            parts = moves[name]
            first = parts[0].take(source)
            if parts[0].target_part is None:
                return first
            whole = np.empty(parts[0].target_shape, first.dtype)
            for move in parts:
                assert move.target_part is not None  # the map covers the tensor by parts
                move.target_part.place(whole, first if move is parts[0] else move.take(source))
            return whole

        def way(name: str) -> Way | None:
            return moves[name][0].way(source)

        return Checkpoint(specs, load, path=self.source, way=way)

    def canonical(self, source: Checkpoint) -> dict[str, np.ndarray]:
        """The canonical weights in float64."""
        return {move.canonical: move.canonical_of(source).astype(np.float64) for move in self.moves}

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

    rules = [replace(r, foreign=from_map.spell(r.foreign, variant, name)) for r in from_map.rules_for(block)]
    named = {rule.foreign for rule in rules}
    unused = {key: why for key in source if key not in named and (why := left_out(from_map, key, variant, name))}
    twins = {from_map.spell(a, variant, name): from_map.spell(b, variant, name) for a, b in from_map.twins.items()}
    unused |= {
        key: f"the same as {other}" for key, other in twins.items() if key not in named and same(source, key, other)
    }
    if lines := differences(source, block, rules, unused):
        title = f"{source.path} does not hold the weights of this {name} under map {from_map.name}"
        count = f"{len(lines)} difference{'s' if len(lines) > 1 else ''}{hint(from_map, source, prefix)}"
        raise CheckpointError(f"{title}: {count}\n  " + "\n  ".join(shortened(lines)))
    unused = inside.left | {inside.name(key): why for key, why in unused.items()}
    unused |= {key: f"{what}, no tensor" for key, what in source.left.items()}
    found = tuple(heads(whole, from_map, to_map, target, unused))
    outward = {rule.canonical: rule for rule in to_map.rules_for(block)}
    moves, params = [], block.params()
    for rule in rules:
        there, (shape, dtype) = outward[rule.canonical], source.specs[rule.foreign]
        arrived = shape_out(params[rule.canonical].shape, there)
        new = to_map.spell(there.foreign, to_variant, name)
        here = inside.name(rule.foreign), rule.layout, rule.canonical
        moves.append(Move(*here, there.layout, new, shape, arrived, dtype, rule.part, there.part))
    if lines := mixtures(moves):
        raise CheckpointError(f"{source.path} cannot have the names of map {to_map.name}:\n  " + "\n  ".join(lines))
    return Plan(
        source=source.path or Path(), target=target, from_map=from_map, from_variant=variant, to_map=to_map,
        to_variant=to_variant, block=block, told=told, moves=tuple(moves), unused=unused, config=config, origin=origin,
        prefix=inside.prefix, said=(*whole.said, *inside.said), heads=found,
    )  # fmt: skip


def same(source: Checkpoint, key: str, other: str) -> bool:
    """Has ``source`` two tensors of these names with the same bits? Nothing is read unless it has both."""
    if key not in source or other not in source or source.specs[key] != source.specs[other]:
        return False
    one, two = (np.ascontiguousarray(source[name]).reshape(-1).view(np.uint8) for name in (key, other))
    return all(np.array_equal(one[i : i + PIECE], two[i : i + PIECE]) for i in range(0, len(one), PIECE))


def hint(item: Map, source: Checkpoint, prefix: str | None) -> str:
    """Where the names of ``item`` are, if they are deeper in the file."""
    if prefix is None and (way := anchored(item, source)):
        return f"; the names of {item.name} are those below {way}: --prefix {way}"
    return ""


def is_written(target: Path) -> bool:
    """Has ``target`` the ending that its format is written under? The others, indices and archives, are only read."""
    fitting = [suffix for suffix in format_of(target).SUFFIXES if target.name.endswith(suffix)]
    return max(fitting, key=len) == format_of(target).SUFFIXES[0]


def mixtures(moves: Sequence[Move]) -> list[str]:
    """The target's tensors whose parts come in several dtypes, a line each."""
    kinds: dict[str, dict[str, str]] = {}
    for move in moves:
        kinds.setdefault(move.target, {})[move.source] = move.dtype
    return [
        f"{target} is one tensor, and its parts are {', '.join(f'{name} {dtype}' for name, dtype in parts.items())}"
        for target, parts in kinds.items()
        if len(set(parts.values())) > 1
    ]


def differences(source: Checkpoint, block: Block, rules: Sequence[Rule], unused: Mapping[str, str]) -> list[str]:
    """What is missing, unexpected, misshapen or no weight in ``source``, a line each."""
    params = block.params()
    wanted = {rule.foreign: shape_out(params[rule.canonical].shape, rule) for rule in rules}
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
