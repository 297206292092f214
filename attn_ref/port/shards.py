"""Checkpoints in several files: an index, and the shards beside it that it lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attn_ref.places import regular
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec
from attn_ref.port.text import load_json

#: how the name of an index ends -> how those of its shards end
INDICES = {
    ".safetensors.index.json": ".safetensors",
    ".bin.index.json": ".bin",
    ".weights.json": ".weights.h5",
}
#: how many shards an index may list; the largest published models have about 200
MOST = 10_000
#: a TensorFlow checkpoint's numbers, beside its index
DATA = re.compile(r"\.data-[0-9]{5}-of-[0-9]{5}")


@dataclass(frozen=True)
class Index:
    """What an index says."""

    path: Path
    #: entry -> the names of the files that hold it: one, but for a group of Keras' that is cut in two
    entries: Mapping[str, tuple[str, ...]]

    @property
    def files(self) -> dict[str, Path]:
        """Name of a shard -> its place."""
        return {name: self.path.parent / name for name in sorted({n for names in self.entries.values() for n in names})}


def ending(path: Path) -> str | None:
    """How the shards of the index ``path`` end; None if it is no index."""
    return next((shard for end, shard in INDICES.items() if path.name.endswith(end)), None)


def read_index(path: Path) -> Index:
    """The index in a file. CheckpointError unless every shard lies beside it, as a plain file of its format."""
    index = parse_index(path, load_json(path).get("weight_map"))
    for file in index.files.values():
        regular(file)
    if absent := [name for name, file in index.files.items() if not file.is_file()]:
        raise CheckpointError(f"{path} lists {absent[0]}, which is not beside it{more(absent)}")
    return index


def parse_index(path: Path, weight_map: object) -> Index:
    """The same of a ``weight_map`` that was read."""
    end = ending(path) or ""
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path}: an index has a 'weight_map' from tensor names to names of files")
    entries: dict[str, tuple[str, ...]] = {}
    for key, told in weight_map.items():
        names = told if isinstance(told, list) else [told]
        if not names or not all(isinstance(name, str) for name in names):
            raise CheckpointError(f"{path}: an index has a 'weight_map' from tensor names to names of files")
        entries[key] = tuple(names)
    index = Index(path, entries)
    if away := [n for n in index.files if Path(n).name != n or not n.endswith(end) or not n.isprintable()]:
        raise CheckpointError(f"{path}: shards lie beside the index and end in {end}; got {away[0]!r}")
    if len(index.files) > MOST:
        raise CheckpointError(f"{path} lists {len(index.files)} shards; at most {MOST} are read")
    return index


def more(names: list[str]) -> str:
    """How many there are besides the first."""
    return f", nor are {len(names) - 1} more" if len(names) > 1 else ""


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files that ``path`` stands for: itself, and the shards of an index. CheckpointError if one is not there."""
    regular(path)
    files = [path]
    if ending(path):
        files += read_index(path).files.values()
    elif path.name.endswith(".index"):
        stem = path.name.removesuffix(".index")
        data = (file for file in path.parent.iterdir() if file.name.startswith(stem))
        files += sorted(file for file in data if DATA.fullmatch(file.name.removeprefix(stem)))
        if len(files) == 1:
            raise CheckpointError(f"{path}: the file with its numbers, {stem}.data-00000-of-00001, is not beside it")
        for file in files:
            regular(file)
    return tuple(files)


def join(index: Index, shards: Mapping[str, Checkpoint], entry: Callable[[str], str] = lambda name: name) -> Checkpoint:
    """The shards as one checkpoint. ``entry`` gives the entry of the index to which a tensor belongs.

    CheckpointError if a tensor lies in two shards, if index and shards disagree, or if the shards say that they hold
    different blocks.
    """
    path = index.path
    home: dict[str, str] = {}
    specs: dict[str, Spec] = {}
    metadata: dict[str, object] = {}
    found: dict[str, set[str]] = {}
    for name, shard in shards.items():
        if shard.metadata and metadata and shard.metadata != metadata:
            raise CheckpointError(f"{path}: {name} and the shards before it say that they hold different blocks")
        metadata = metadata or shard.metadata
        for key, spec in shard.specs.items():
            if key in home:
                raise CheckpointError(f"{path}: {key} lies in two shards, {home[key]} and {name}")
            home[key], specs[key] = name, spec
            found.setdefault(entry(key), set()).add(name)
    listed = {key: set(names) for key, names in index.entries.items()}
    if wrong := sorted(key for key in listed.keys() | found.keys() if listed.get(key) != found.get(key)):
        said, is_there = (", ".join(sorted(told.get(wrong[0], ()))) or "nowhere" for told in (listed, found))
        raise CheckpointError(
            f"{path}: the index and the shards disagree on {len(wrong)} entries, such as {wrong[0]}, which lies in "
            f"{is_there}, and by the index in {said}"
        )

    def load(key: str) -> np.ndarray:
        return shards[home[key]][key]

    def close() -> None:
        for shard in shards.values():
            shard.close()

    places = {
        key: place._replace(file=place.file or name)
        for name, shard in shards.items()
        for key, place in shard.places.items()
    }
    left = {what: why for shard in shards.values() for what, why in shard.left.items()}
    return Checkpoint(
        specs, load, path=path, metadata=metadata, close=close, files=(path, *index.files.values()), places=places,
        left=left,
    )  # fmt: skip
