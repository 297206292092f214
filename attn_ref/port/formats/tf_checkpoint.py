"""TensorFlow's checkpoints, ``.index`` and ``.data-…``: read by TensorFlow's own reader, and not written.

What reads them needs TensorFlow and lies with the Keras backend, ``attn_ref_keras.checkpoint``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from attn_ref.port.checkpoint import Checkpoint, CheckpointError

NAME = "tf_checkpoint"
SUFFIXES = (".index",)
WRITES = False
#: the library that reads it is written in C++, and a corrupt file can crash it
APART = True


def prepare(path: Path) -> None:
    """Import TensorFlow. CheckpointError if it is not installed."""
    try:
        import_module("attn_ref_keras.checkpoint")
    except ImportError as error:
        way_out = "pip install 'attn_ref[keras]'"
        raise CheckpointError(f"{path}: reading a TensorFlow checkpoint needs TensorFlow; {way_out}") from error


def read(path: Path) -> Checkpoint:
    """The variables in a checkpoint by their names; of an object-based one by the paths of the objects."""
    checkpoint: Checkpoint = import_module("attn_ref_keras.checkpoint").read(path, NAME)
    return checkpoint


def write(path: Path, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]) -> None:
    """Refused."""
    raise CheckpointError(f"{path}: TensorFlow checkpoints are read, not written; write .weights.h5 or .safetensors")
