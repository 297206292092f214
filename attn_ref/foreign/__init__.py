"""What is not ours: by which names and in which layout it keeps its weights, what it can mean, and how it is run.

A layer or model of another library is one file, ``peers/<name>.py`` in the package of its framework, which is found
there. It has a ``PEER``, which ``check`` runs, or ``MAPS``, by which ``port`` moves its files, or both.
"""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Peer

#: of the packages that may have peers: those of backends
GROUP = "attn_ref.backends"


@cache
def _read() -> tuple[list[ModuleType], dict[str, str]]:
    """(the file of each, the name of a file that does not import -> why). Imports no framework."""
    found: list[ModuleType] = []
    failed: dict[str, str] = {}
    from importlib.metadata import entry_points  # here, because importing it takes half as long as NumPy

    for package in dict.fromkeys(point.module for point in sorted(entry_points(group=GROUP), key=lambda p: p.module)):
        if find_spec(f"{package}.peers") is None:
            continue
        folder = import_module(f"{package}.peers")
        for info in sorted(pkgutil.iter_modules(folder.__path__), key=lambda info: info.name):
            name = f"{folder.__name__}.{info.name}"
            try:
                found.append(import_module(name))
            except Exception as error:  # of one file, or of its block's; whoever asks for others need not mind
                failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
    return found, failed


def modules() -> list[ModuleType]:
    """The file of each."""
    return _read()[0]


def broken() -> dict[str, str]:
    """Name of a file that cannot be imported -> why. Empty where all is well."""
    return _read()[1]


@cache
def peers() -> dict[str, Peer]:
    """Name -> the layer or model of another library that a check can run."""
    found = [module.PEER for module in modules() if hasattr(module, "PEER")]
    return {peer.name: peer for peer in found}


@cache
def maps() -> dict[str, Map]:
    """Name -> how files of another library's models are named and laid out; each is run by ``run_file`` beside it."""
    told = [(module.__name__, item) for module in modules() for item in getattr(module, "MAPS", ())]
    return {item.name: replace(item, end=item.end or f"{name}:run_file") for name, item in told}
