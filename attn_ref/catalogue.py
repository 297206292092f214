"""Which blocks there are: every class of ``attn_ref.blocks`` and ``attn_ref.models`` that derives from Block.

The class ``SqueezeExcitation`` is looked for in the file ``squeeze_excitation.py``, so nothing keeps a list.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from attn_ref import names
from attn_ref.block import Block

FOLDERS = ("blocks", "models")


def module_name(block_name: str) -> str:
    """'MultiHeadAttention' → 'multi_head_attention'."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", block_name).lower()


def is_model(cls: type) -> bool:
    """Does a class of a block stand among the models, which are made of many blocks?"""
    return cls.__module__.startswith("attn_ref.models.")


def find(name: str, package: str = "attn_ref") -> type | None:
    """The class ``name`` in the file of its name, in ``package``'s blocks or models; None if there is none."""
    file = file_of(name, package)
    return getattr(import_module(f"{package}.{file.parent.name}.{file.stem}"), name, None) if file else None


def file_of(name: str, package: str = "attn_ref") -> Path | None:
    """The file in which ``package`` has ``name``, if it has one. Imports nothing below the package itself."""
    spec = find_spec(package) if name.isidentifier() else None
    roots = [Path(root) for root in (spec.submodule_search_locations if spec else None) or ()]
    files = (root / folder / f"{module_name(name)}.py" for root in roots for folder in FOLDERS)
    return next((file for file in files if file.is_file()), None)


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


def class_name(module: str) -> str:
    """'multi_head_attention' → 'MultiHeadAttention', as far as the name of a file tells."""
    return "".join(word[:1].upper() + word[1:] for word in module.split("_"))


def block(name: str) -> type[Block]:
    """The block called ``name``, in any case, with underscores or without.

    ValueError that says which were meant, and lists the others, when there is none.
    """
    known = blocks()
    if not isinstance(name, str):
        raise ValueError(f"a block is found by its name, such as 'FeedForward'; got {name!r}")
    alike = [cls for other, cls in known.items() if names.squeezed(other) == names.squeezed(name)]
    failed = [why for other, why in broken().items() if names.squeezed(other) == names.squeezed(name)]
    if not alike and failed:
        raise ValueError(failed[0])
    if not alike:
        raise ValueError(f"unknown block {name!r}; {names.hint(name, known, texts())}the blocks are {', '.join(known)}")
    return known.get(name, alike[0])


def texts() -> dict[str, str]:
    """What the file of every block says of it."""
    return {name: sys.modules[cls.__module__].__doc__ or "" for name, cls in blocks().items()}
