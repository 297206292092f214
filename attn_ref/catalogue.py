"""Which blocks there are: every class of ``attn_ref.blocks`` and ``attn_ref.models`` that derives from Block."""

from __future__ import annotations

import pkgutil
import sys
from functools import cache
from importlib import import_module

from attn_ref import names
from attn_ref.block import Block
from attn_ref.discovery import FOLDERS, class_name


def is_model(cls: type) -> bool:
    """Does a class of a block stand among the models, which are made of many blocks?"""
    return cls.__module__.startswith("attn_ref.models.")


@cache
def _read() -> tuple[names.Named[type[Block]], dict[str, str]]:
    """(every block by name, name of a block whose file does not import -> why)."""
    found, failed = names.Named[type[Block]]("block"), {}
    for folder in FOLDERS:
        package = import_module(f"attn_ref.{folder}")
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
            try:
                module = import_module(f"attn_ref.{folder}.{info.name}")
            except Exception as error:  # of one file; whoever asks for other blocks need not mind
                said = f"attn_ref/{folder}/{info.name}.py cannot be imported: {type(error).__name__}: {error}"
                failed[class_name(info.name)] = " ".join(said.split())
                continue
            own = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Block)]
            found.update({c.__name__: c for c in own if c.__module__ == module.__name__})
    return found, failed


def blocks() -> dict[str, type[Block]]:
    """Every block by name, in order of name; models after blocks. Without those of ``broken``."""
    return _read()[0]


def broken() -> dict[str, str]:
    """Name of a block whose file cannot be imported -> why. Empty where all is well."""
    return _read()[1]


def block(name: str) -> type[Block]:
    """The block called ``name``, in any case, with underscores or without.

    ValueError that says which were meant, and lists the others, when there is none.
    """
    known = blocks()
    if not isinstance(name, str):
        raise ValueError(f"a block is found by its name, such as 'FeedForward'; got {name!r}")
    if name in known:
        return known[name]
    alike = [cls for other, cls in known.items() if names.squeezed(other) == names.squeezed(name)]
    failed = [why for other, why in broken().items() if names.squeezed(other) == names.squeezed(name)]
    if not alike and failed:
        raise ValueError(failed[0])
    if not alike and (":" in name or name.endswith(".py")):
        target = name if ":" in name else f"{name}:YourLayer"
        raise ValueError(
            f"{name!r} is no block; your own layer is held to one by attn-ref conform {target} --block NAME"
        )
    if not alike:
        raise ValueError(f"unknown block {name!r}; {names.hint(name, known, texts())}the blocks are {', '.join(known)}")
    return alike[0]


def texts() -> dict[str, str]:
    """What the file of every block says of it."""
    return {name: sys.modules[cls.__module__].__doc__ or "" for name, cls in blocks().items()}
