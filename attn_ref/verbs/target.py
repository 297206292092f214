"""A user's layer by name: ``package.module:object`` or ``path/to/file.py:object``. Its file is executed, as he asks."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attn_ref.names import hint


class TargetError(ValueError):
    """What was named cannot be had, with what was tried."""


def load(target: str, options: Mapping[str, Any]) -> Any:
    """The object called ``target``; a class is made an object of with ``options``. TargetError if there is none."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise TargetError(f"TARGET is package.module:object or path/to/file.py:object; got {target!r}")
    module = from_file(Path(place)) if place.endswith(".py") else from_name(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [n for n, x in vars(module).items() if n[0] != "_" and callable(x)]
            raise TargetError(f"{place} has no {name}; {hint(name, known)}it has {', '.join(known) or 'nothing'}")
        found = getattr(found, part)
    if isinstance(found, type):
        return made(found, options)
    if options:
        raise TargetError(f"--init is for a class, and {target} is a {type(found).__name__} already")
    if not callable(found):
        raise TargetError(f"{target} is a {type(found).__name__}, which cannot be called")
    return found


@contextmanager
def nothing_written() -> Iterator[None]:
    """While it lasts, Python leaves no folder ``__pycache__`` beside what it imports, which is the user's."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def from_file(path: Path) -> Any:
    """The module of a file."""
    if not path.is_file():
        raise TargetError(f"{path}: no such file")
    name = f"_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # classes look for their module there
    sys.path.insert(0, str(path.absolute().parent))
    try:
        with nothing_written():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise TargetError(f"{path} does not import: {type(error).__name__}: {error}") from error
    return module


def from_name(name: str) -> Any:
    """A module that is installed, or lies in the working folder."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        with nothing_written():
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise TargetError(f"{name} does not import: {type(error).__name__}: {error}") from error


def made(cls: type, options: Mapping[str, Any]) -> Any:
    """An object of a class. TargetError that says what it asks for."""
    try:
        return cls(**options)
    except Exception as error:
        try:
            asked = str(inspect.signature(cls))
        except (TypeError, ValueError):
            asked = "(…)"
        raise TargetError(
            f"{cls.__name__} could not be made: {type(error).__name__}: {error}; it is {cls.__name__}{asked}: "
            "give each by --init NAME=VALUE"
        ) from error
