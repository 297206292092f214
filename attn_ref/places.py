"""Where files may go, and files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attn_ref.wording import clean

#: how the name of a file begins that is not whole yet
UNFINISHED = ".attn_ref-"


class CheckpointError(ValueError):
    """A file, or what it holds, cannot be used: says what was given, the rule, and the way out.

    The text may go to a terminal as it is, whatever a file put into it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(clean(text))


def regular(path: Path) -> None:
    """CheckpointError unless ``path`` is a plain file: to open a FIFO waits for ever, and a device has no end."""
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no plain file (a folder, a FIFO, a socket or a device); give a plain file")


def write_text(path: str | Path, text: str) -> None:
    """Write a report or a plan, as UTF-8. The file appears when it is whole, or not at all."""
    with beside(path) as temporary, writing(path):
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        arrive(temporary, path)


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
