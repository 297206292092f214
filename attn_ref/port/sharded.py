"""Safetensors written in shards, with an index, as Hugging Face does: what is larger than a size becomes several files.

Files cannot be renamed together. So none of their names may be taken, and the index, without which the shards are no
checkpoint, arrives last: whenever a run is ended, what was there is as it was.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from attn_ref.places import UNFINISHED, CheckpointError, refuse_place
from attn_ref.port.checkpoint import Checkpoint, Spec
from attn_ref.port.formats import format_of

ENDING = ".safetensors"
#: bytes of a unit, as transformers counts them
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Shards(NamedTuple):
    """Where shards go, and their index last; and how many bytes of tensors one has at most."""

    where: list[Path]
    most: int


def parse_size(size: int | str) -> int:
    """``"5GB"`` → 5000000000. ValueError for what is no size.

    >>> parse_size("5GB"), parse_size("1.5 MiB")
    (5000000000, 1572864)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(size).strip())
    if not match or match[2].upper() not in UNITS or not (number := int(float(match[1]) * UNITS[match[2].upper()])):
        raise ValueError(f"a size of shards is a number of bytes above 0, such as 500MB or 5GB; got {size!r}")
    return number


def divided(specs: Mapping[str, Spec], most: int) -> list[list[str]]:
    """The names in order, in shards of at most ``most`` bytes; a tensor that is larger has a shard of its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, spec in specs.items():
        if shards[-1] and filled + spec.nbytes > most:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += spec.nbytes
    return shards


def shard_names(target: Path, count: int) -> list[str]:
    """``model.safetensors`` → ``model-00001-of-00003.safetensors`` …, and at last the index."""
    stem = target.name.removesuffix(ENDING)
    return [f"{stem}-{i + 1:05}-of-{count:05}{ENDING}" for i in range(count)] + [f"{stem}{ENDING}.index.json"]


def places(target: Path, tensors: Checkpoint, most: int) -> list[Path]:
    """Where shards and index go; empty if one file is enough. CheckpointError if that is not possible."""
    if not target.name.endswith(ENDING):
        raise CheckpointError(f"{target}: only {ENDING} is written in shards; leave the size of shards out")
    count = len(divided(tensors.specs, most))
    if count == 1:
        return []
    found = [target.parent / name for name in shard_names(target, count)]
    for path in (target, *found):
        if os.path.lexists(path):
            raise CheckpointError(f"{path} is there, and shards replace no file; name another, or an empty folder")
    return found


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A folder beside ``path``, for files that are not whole yet; it is removed with what has not been moved."""
    refuse_place(path)
    folder = path.with_name(f"{UNFINISHED}{secrets.token_hex(4)}.{path.name}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_shards(
    folder: Path, shards: Shards, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]
) -> Path:
    """Write the shards and their index to ``folder``. The index is returned."""
    weight_map: dict[str, str] = {}
    *names, index = (path.name for path in shards.where)
    for name, keys in zip(names, divided(tensors.specs, shards.most), strict=True):
        part = tensors.renamed({key: key for key in keys})
        format_of(folder / name).write(folder / name, part, metadata, tick)
        weight_map |= dict.fromkeys(keys, name)
    told = {"metadata": {"total_size": sum(spec.nbytes for spec in tensors.specs.values())}, "weight_map": weight_map}
    (folder / index).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder / index


def arrive_all(folder: Path, where: list[Path]) -> None:
    """Move the shards to their places, the index last; all or none, unless the process is killed between two."""
    moved: list[Path] = []
    try:
        for path in where:
            os.rename(folder / path.name, path)
            moved.append(path)
    except BaseException:
        for path in moved:
            path.unlink(missing_ok=True)
        raise
