"""Which file is meant, and what reads and writes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attn_ref.places import CheckpointError, arrive, beside, distinct, regular, writing
from attn_ref.port import apart
from attn_ref.port.checkpoint import Checkpoint
from attn_ref.port.folders import Found, in_folder
from attn_ref.port.formats import format_of, suffixes

#: what says beside the weights what the model is; the second is Google's, the third Meta's
CONFIGS = ("config.json", "bert_config.json", "params.json")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def read(source: str | Path) -> Checkpoint:
    """Open a file, a folder with a model in it, or a model of the Hugging Face hub by its name ``owner/model``.

    No tensor is read before it is asked for. Formats whose libraries a corrupt file can crash are read in a process of
    their own, with limits of time and memory; close the checkpoint, or use it in a ``with``, to end that process.
    Raises CheckpointError for what is not there, truncated, or foreign.

    >>> import attn_ref as ar, numpy as np, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "w.npz")
    >>> ar.port.write(file, {"kernel": np.ones((2, 3))})
    >>> with ar.port.read(file) as checkpoint:
    ...     checkpoint.specs
    {'kernel': Spec(shape=(2, 3), dtype='float64')}
    """
    path, said = locate(source)
    form = format_of(path)
    checkpoint = apart.read(path, form.NAME) if form.APART else form.read(path)
    checkpoint.said += said
    if config := next((place for name in CONFIGS if (place := path.parent / name).is_file()), None):
        checkpoint.config_path = config
        checkpoint.files += (config,)
    return checkpoint


def write(
    path: str | Path,
    tensors: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    tick: Callable[[str], None] = lambda name: None,
) -> None:
    """Write ``tensors`` in the format of ``path``'s name. The file appears when it is whole, or not at all.

    CheckpointError if ``tensors`` are read from that very file.
    """
    held = Checkpoint.of(tensors)
    distinct({"the file to write": Path(path)}, held.files)
    with beside(path) as temporary, writing(path):
        format_of(temporary).write(temporary, held, metadata or {}, tick)
        arrive(temporary, path)


def locate(source: str | Path) -> Found:
    """The file that ``source`` names, and what has to be said about its choice."""
    path = Path(source)
    if not path.is_dir():
        regular(path)
    if path.is_file():
        return Found(path, [])
    if path.is_dir():
        return in_folder(path)
    index = path.with_name(f"{path.name}.index")  # TensorFlow names a checkpoint by what its files' names begin with
    if path.name and index.is_file():
        return Found(index, [])
    if HUB_NAME.fullmatch(str(source)) and not str(source).endswith(suffixes()):
        return in_folder(download(str(source)))
    hint = ""
    if "/" not in str(source) and not path.suffix:
        hint = f"; a model of the Hugging Face hub has its owner in its name: owner/{source}"
        hint += ", such as google-bert/bert-base-uncased" if str(source).startswith("bert") else ""
    raise CheckpointError(f"{source}: no such file or folder{hint}")


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
