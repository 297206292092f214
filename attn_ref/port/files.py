"""Which file is meant, and files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attn_ref.port import apart
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, regular
from attn_ref.port.formats import format_of, formats

#: what is looked for in a folder, in this order
PREFERRED = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin", "model.weights.h5")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: how the name of a file begins that is not whole yet
UNFINISHED = ".attn_ref-"


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
    path = locate(source)
    form = format_of(path)
    checkpoint = apart.read(path, form.NAME) if form.APART else form.read(path)
    config = path.parent / "config.json"
    if config.is_file():
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


def write_text(path: str | Path, text: str) -> None:
    """Write a report or a plan, as UTF-8. The file appears when it is whole, or not at all."""
    with beside(path) as temporary, writing(path):
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        arrive(temporary, path)


def locate(source: str | Path) -> Path:
    """The file that ``source`` names."""
    path = Path(source)
    regular_or_folder(path)
    if path.is_file():
        return path
    if path.is_dir():
        return in_folder(path)
    if HUB_NAME.fullmatch(str(source)) and not str(source).endswith(suffixes()):
        return in_folder(download(str(source)))
    hint = ""
    if "/" not in str(source) and not path.suffix:
        hint = f"; a model of the Hugging Face hub has its owner in its name: owner/{source}"
        hint += ", such as google-bert/bert-base-uncased" if str(source).startswith("bert") else ""
    raise CheckpointError(f"{source}: no such file or folder{hint}")


def regular_or_folder(path: Path) -> None:
    """CheckpointError for a FIFO, a socket or a device."""
    if not path.is_dir():
        regular(path)


def in_folder(folder: Path) -> Path:
    """The one file with weights in a folder. What an interrupted run left unfinished is none, and is named."""
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    inside = sorted(path for path in folder.iterdir() if path.name.endswith(suffixes()))
    found = [path for path in inside if not path.name.startswith(UNFINISHED)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} ({', '.join(path.name for path in found[:9])}); name one" if found else "none"
    if left := [path.name for path in inside if path not in found]:
        what += f"; {', '.join(left[:9])} was left unfinished by a run that was killed, and can be deleted"
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


def refuse_place(path: Path) -> None:
    """CheckpointError if ``path`` is no place for a file."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the file to write")
    regular(path)
    if not path.parent.is_dir():
        raise CheckpointError(f"{path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise CheckpointError(f"{path}: the folder {path.parent} cannot be written to")


def distinct(outputs: Mapping[str, Path | None], inputs: Iterable[Path]) -> None:
    """CheckpointError if an output is one of the inputs, or another output, by whatever name or link.

    ``outputs``: what it is -> where it goes. Names that differ in case alone count as one, as they do on some disks.
    """
    taken = [(path, "which is read, and nothing that is read is written to; name another file") for path in inputs]
    for what, path in outputs.items():
        if path is None:
            continue
        for other, why in taken:
            if same(path, other):
                raise CheckpointError(f"{path} cannot be {what}: it is {other}, {why}")
        taken.append((path, f"{what}; each needs a file of its own"))


def same(path: Path, other: Path) -> bool:
    """Are the two one file, now or when they are written?"""
    if path.exists() and other.exists() and path.samefile(other):
        return True
    real, others = Path(os.path.realpath(path)), Path(os.path.realpath(other))
    if str(real).casefold() == str(others).casefold():
        return True
    # one folder may have several paths, as by a bind mount
    folders = real.parent, others.parent
    return (
        real.name.casefold() == others.name.casefold()
        and all(map(Path.is_dir, folders))
        and folders[0].samefile(folders[1])
    )


@contextmanager
def beside(path: str | Path) -> Iterator[Path]:
    """A temporary name of the same kind, beside ``path`` or what it is a link to; ``arrive`` moves it there.

    What has not been moved by the end is removed.
    """
    refuse_place(Path(path))
    target = Path(os.path.realpath(path))
    refuse_place(target)
    # Keras and this package choose a format by the end of the name, so the temporary name ends alike
    temporary = target.with_name(f"{UNFINISHED}{secrets.token_hex(4)}.{target.name}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def arrive(temporary: Path, path: str | Path) -> None:
    """Give a file that is whole its name. A link stays, and what it points to is new."""
    os.replace(temporary, os.path.realpath(path))


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Name the file in what the system says when it cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        text = f"{error.strerror}; it was not written, and what was there is as it was"
        raise OSError(error.errno, text, str(path)) from error
