"""Which file is meant, and files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attn_ref.port.checkpoint import Checkpoint, CheckpointError
from attn_ref.port.formats import format_of, formats

#: what is looked for in a folder, in this order
PREFERRED = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin", "model.weights.h5")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def read(source: str | Path) -> Checkpoint:
    """Open a file, a folder with a model in it, or a model of the Hugging Face hub by its name ``owner/model``.

    No tensor is read before it is asked for. Raises CheckpointError for what is not there, truncated, or foreign.

    >>> import attn_ref as ar, numpy as np, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "w.npz")
    >>> ar.port.write(file, {"kernel": np.ones((2, 3))})
    >>> ar.port.read(file).specs
    {'kernel': Spec(shape=(2, 3), dtype='float64')}
    """
    path = locate(source)
    checkpoint = format_of(path).read(path)
    config = path.parent / "config.json"
    checkpoint.config_path = config if config.is_file() else None
    return checkpoint


def write(
    path: str | Path,
    tensors: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    tick: Callable[[str], None] = lambda name: None,
) -> None:
    """Write ``tensors`` in the format of ``path``'s name. The file appears when it is whole, or not at all."""
    with beside(path) as temporary:
        format_of(temporary).write(temporary, Checkpoint.of(tensors), metadata or {}, tick)
        os.replace(temporary, path)


def locate(source: str | Path) -> Path:
    """The file that ``source`` names."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        return in_folder(path)
    if HUB_NAME.fullmatch(str(source)) and not str(source).endswith(suffixes()):
        return in_folder(download(str(source)))
    raise CheckpointError(f"{source}: no such file or folder")


def in_folder(folder: Path) -> Path:
    """The one file with weights in a folder."""
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.name.endswith(suffixes()))
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} ({', '.join(path.name for path in found)}); name one" if found else "none"
    raise CheckpointError(f"{folder}: a folder with one file of weights is expected; it has {what}")


def suffixes() -> tuple[str, ...]:
    """How names of files with weights end."""
    return tuple(suffix for module in formats().values() for suffix in module.SUFFIXES)


def download(name: str) -> Path:
    """The folder with a model of the Hugging Face hub, from its cache or fetched now."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CheckpointError(
            f"{name}: no such file or folder; to fetch it as a Hugging Face model: pip install huggingface_hub"
        ) from error
    try:
        wanted = ["config.json", "*.safetensors", "*.safetensors.index.json"]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the hub's own kinds and those of its network library; all mean the same here
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{name}: no such file or folder, nor a Hugging Face model: {why}") from error


def refuse_folder(path: Path) -> None:
    """CheckpointError if ``path`` is no place for a file."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the file to write")
    if not path.parent.is_dir():
        raise CheckpointError(f"{path}: the folder {path.parent} does not exist; make it first")


@contextmanager
def beside(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path``, of the same kind; what has not been moved from there by the end is removed."""
    path = Path(path)
    refuse_folder(path)
    # Keras and this package choose a format by the end of the name, so the temporary name ends alike
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
