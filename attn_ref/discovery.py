"""Where a class stands: ``SqueezeExcitation`` in the file ``squeeze_excitation.py``, so that nothing keeps a list."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

FOLDERS = ("blocks", "models")
#: (name, package) -> its file, of those that were found: they are asked for again and again
FOUND: dict[tuple[str, str], Path] = {}


def module_name(block_name: str) -> str:
    """'MultiHeadAttention' → 'multi_head_attention'."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", block_name).lower()


def class_name(module: str) -> str:
    """'multi_head_attention' → 'MultiHeadAttention', as far as the name of a file tells."""
    return "".join(word[:1].upper() + word[1:] for word in module.split("_"))


def find(name: str, package: str = "attn_ref") -> type | None:
    """The class ``name`` in the file of its name, in ``package``'s blocks or models; None if there is none."""
    file = file_of(name, package)
    return getattr(import_module(f"{package}.{file.parent.name}.{file.stem}"), name, None) if file else None


def file_of(name: str, package: str = "attn_ref") -> Path | None:
    """The file in which ``package`` has ``name``, if it has one. Imports nothing below the package itself."""
    if (name, package) in FOUND:
        return FOUND[name, package]
    spec = find_spec(package) if name.isidentifier() else None
    roots = [Path(root) for root in (spec.submodule_search_locations if spec else None) or ()]
    files = (root / folder / f"{module_name(name)}.py" for root in roots for folder in FOLDERS)
    if file := next((file for file in files if file.is_file()), None):
        FOUND[name, package] = file
    return file
