"""timm, with torchvision or without it.

``import timm`` asks for torchvision, of which its transformers and single layers use nothing, and the one that fits a
CPU build of torch is not where it is looked for. Where there is none, empty classes stand for what timm asks of it
while it is imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class Names(type):
    """The kind of an empty class, which has a text under every name, as an enumeration has members."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class Hollow(ModuleType):
    """A module that has an empty class under every name."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Names(name, (), {})


class Finder(MetaPathFinder, Loader):
    """Finds a hollow module for torchvision and for all below it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if of_torchvision(fullname) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Hollow(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def of_torchvision(name: str) -> bool:
    return name.partition(".")[0] == "torchvision"


@contextmanager
def hollow() -> Iterator[None]:
    """While this lasts torchvision can be imported; afterwards there is none, as before."""
    finder = Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in filter(of_torchvision, list(sys.modules)):
            del sys.modules[name]


def module(name: str) -> Any:
    """The module ``timm.<name>``. ImportError where timm is not installed."""
    if "timm" in sys.modules or find_spec("torchvision"):
        return importlib.import_module(f"timm.{name}")
    with hollow():
        return importlib.import_module(f"timm.{name}")
