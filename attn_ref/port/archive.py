"""What the formats that are zip archives have in common."""

from __future__ import annotations

import zipfile
from pathlib import Path

from attn_ref.port.checkpoint import EXPANSION, SMALL, CheckpointError


def members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by name. CheckpointError if two have the same name: readers differ in which they take."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in found:
            raise CheckpointError(f"{path}: two members are called {info.filename!r}")
        found[info.filename] = info
    return found


def room(path: Path, info: zipfile.ZipInfo) -> None:
    """CheckpointError if a member would unpack to far more than its archive has."""
    size = path.stat().st_size
    if info.file_size > max(SMALL, EXPANSION * size):
        rule = f"at most {EXPANSION} times the archive's size is read, or {SMALL >> 20} MB"
        raise CheckpointError(
            f"{path}: {info.filename} unpacks from {info.compress_size} to {info.file_size} bytes; {rule}"
        )


def stored_at(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Where the bytes of an uncompressed member begin: behind a header of 30 bytes, its name and its extra field."""
    assert archive.fp
    archive.fp.seek(info.header_offset + 26)
    name, extra = (int.from_bytes(archive.fp.read(2), "little") for _ in range(2))
    return info.header_offset + 30 + name + extra
