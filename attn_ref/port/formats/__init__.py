"""Readers and writers, one file per format, found by looking into this folder.

A format is a module with

- ``NAME``, ``SUFFIXES`` (the file names that it reads; the first is the one that it writes) and ``WRITES`` (can it?),
- ``read(path) -> Checkpoint``, which reads no tensor yet,
- ``APART``: must a file be read in a process of its own (``attn_ref.port.reader``)? If so, ``prepare(path)`` imports
  there what reading takes, before limits of time and memory begin,
- ``write(path, tensors, metadata, tick)``, which reads ``tensors`` one at a time and calls ``tick(name)`` after each.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType

from attn_ref.port.checkpoint import CheckpointError


def formats() -> dict[str, ModuleType]:
    """Every format by name."""
    found = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {module.NAME: module for module in found}


def format_of(path: Path) -> ModuleType:
    """The format that ``path``'s name ends in. CheckpointError that lists the endings when there is none."""
    endings = {suffix: module for module in formats().values() for suffix in module.SUFFIXES}
    fitting = [suffix for suffix in endings if path.name.endswith(suffix)]
    if not fitting:
        raise CheckpointError(f"{path}: no format has a name of this kind; names end in {', '.join(sorted(endings))}")
    return endings[max(fitting, key=len)]


def suffixes() -> tuple[str, ...]:
    """How names of files with weights end."""
    return tuple(suffix for module in formats().values() for suffix in module.SUFFIXES)
