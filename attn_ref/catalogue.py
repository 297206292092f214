"""Which blocks there are: every class of ``attn_ref.blocks`` and ``attn_ref.models`` that derives from Block.

The class ``SqueezeExcitation`` is looked for in the file ``squeeze_excitation.py``, so nothing keeps a list.
"""

from __future__ import annotations

import pkgutil
import re
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from attn_ref.block import Block

FOLDERS = ("blocks", "models")


def module_name(block_name: str) -> str:
    """'MultiHeadAttention' → 'multi_head_attention'."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", block_name).lower()


def find(name: str, package: str = "attn_ref") -> type | None:
    """The class ``name`` in the file of its name, in ``package``'s blocks or models; None if there is none."""
    for folder in FOLDERS:
        module = f"{package}.{folder}.{module_name(name)}"
        if find_spec(f"{package}.{folder}") and find_spec(module):
            return getattr(import_module(module), name, None)
    return None


@cache
def blocks() -> dict[str, type[Block]]:
    """Every block by name, in order of name; models after blocks."""
    found: dict[str, type[Block]] = {}
    for folder in FOLDERS:
        package = import_module(f"attn_ref.{folder}")
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
            module = import_module(f"attn_ref.{folder}.{info.name}")
            own = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Block)]
            found |= {c.__name__: c for c in own if c.__module__ == module.__name__}
    return found


def block(name: str) -> type[Block]:
    """The block called ``name``; ValueError that lists the others when there is none."""
    known = blocks()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown block {name!r}; {hint}the blocks are {', '.join(known)}")
    return known[name]
