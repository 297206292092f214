"""Which file of a folder is its model."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from attn_ref.places import UNFINISHED, CheckpointError
from attn_ref.port.formats import suffixes
from attn_ref.port.shards import INDICES, ending, weight_files

#: what is looked for in a folder, in this order
PREFERRED = (
    "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin",
    "model.weights.json", "model.weights.h5", "tf_model.h5",
)  # fmt: skip
#: what a Trainer keeps beside the model
TRAINING = re.compile(
    r"(optimizer|scheduler|scaler|sampler)(_\d+)?\.(pt|bin)|rng_state(_\d+)?\.pth|random_states_\d+\.pkl"
    r"|training_args\.bin|trainer_state\.json"
)
#: a shard, whose index should be beside it
SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\..+)|(.+)_\d{5}(\.weights\.h5)")


class Found(NamedTuple):
    """The file with the model, and what has to be said about the others, a line each."""

    path: Path
    said: list[str]


def in_folder(folder: Path) -> Found:
    """The one file with weights in a folder. What an interrupted run left unfinished is none, and is named."""
    entries = sorted(folder.iterdir())
    training = [path.name for path in entries if TRAINING.fullmatch(path.name)]
    inside = [path for path in entries if path.name.endswith(suffixes()) and path.name not in training]
    whole = [path for path in inside if not path.name.startswith(UNFINISHED)]
    preferred = [folder / name for name in PREFERRED if (folder / name).is_file()]
    indices = [path for path in whole if ending(path)]
    found = preferred[:1] or indices or [path for path in whole if not SHARD.fullmatch(path.name)]
    if len(found) != 1:
        raise CheckpointError(f"{folder}: a folder with one file of weights is expected; it has {what(found, inside)}")
    taken = found[0]
    mine = {file.name for file in weight_files(taken)}
    others = [path.name for path in whole if path.name not in mine and not SHARD.fullmatch(path.name)]
    said = []
    if others:
        said.append(f"{taken.name} is taken of {folder}; not read: {listed(others)}")
    if training:
        said.append(f"left out: {listed(training)}: the state of training")
    return Found(taken, said)


def what(found: Collection[Path], inside: Collection[Path]) -> str:
    """What a folder has instead of one file of weights, in words."""
    text = f"{len(found)} ({listed([path.name for path in found])}); name one" if found else "none"
    names = [path.name for path in inside]
    if left := [name for name in names if name.startswith(UNFINISHED)]:
        text += f"; {listed(left)} was left unfinished by a run that was killed, and can be deleted"
    shards = [name for name in names if SHARD.fullmatch(name) and not name.startswith(UNFINISHED)]
    if not found and shards:
        text += f"; {listed(shards)} {'is a shard' if len(shards) == 1 else 'are shards'} without an index"
        ends = [index for index, shard in INDICES.items() if shards[0].endswith(shard)]
        text += f" (…{ends[0]}), which says what lies where" if ends else ""
    return text


def listed(names: list[str], most: int = 9) -> str:
    """The first few, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
