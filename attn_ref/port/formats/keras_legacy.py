"""Keras 2's ``.h5`` (TF-Keras), which Keras 3 still writes: weights by layers, ``dense/dense/kernel:0``. Read only.

A name is ``layer/weight``, as the file has it without ``:0``. The configuration in such a file is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attn_ref.port.checkpoint import Checkpoint, CheckpointError
from attn_ref.port.formats.keras_h5 import read_one
from attn_ref.port.hdf5 import LEGACY

NAME = LEGACY
SUFFIXES = (".h5", ".hdf5")
WRITES = False
#: the library that reads it is written in C, and a corrupt file can crash it
APART = True


def prepare(path: Path) -> None:
    """Nothing is left to import."""


def read(path: Path) -> Checkpoint:
    """The weights in a file. What it holds says whether it is of Keras 2 or of Keras 3, whatever its name."""
    return read_one(path)


def write(path: Path, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]) -> None:
    """Refused."""
    raise CheckpointError(f"{path}: Keras 2's files are read, not written; write .weights.h5, which Keras 3 loads")
