"""Files of ``torch.save``, Lightning's ``.ckpt`` too: read by ``torch.load(weights_only=True)`` alone, and not written.

What reads them needs torch and lies with the torch backend, ``attn_ref_torch.checkpoint``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from attn_ref.port.checkpoint import Checkpoint, CheckpointError

NAME = "torch_pt"
SUFFIXES = (".pt", ".pth", ".bin", ".bin.index.json", ".ckpt", ".pth.tar")
WRITES = False
#: a pickle, even one of weights only, may ask for any amount of time and memory
APART = True


def prepare(path: Path) -> None:
    """Import torch. CheckpointError if it is not installed."""
    try:
        import_module("attn_ref_torch.checkpoint")
    except ImportError as error:
        way_out = "pip install 'attn_ref[torch]', or give safetensors"
        raise CheckpointError(f"{path}: reading it needs torch; {way_out}") from error


def read(path: Path) -> Checkpoint:
    """The tensors in a file, or in the shards of an index, by their keys; below the keys of the dicts around them."""
    checkpoint: Checkpoint = import_module("attn_ref_torch.checkpoint").read(path, NAME)
    return checkpoint


def write(path: Path, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]) -> None:
    """Refused."""
    raise CheckpointError(f"{path}: torch files are read, not written; write .safetensors, which torch loads as well")
