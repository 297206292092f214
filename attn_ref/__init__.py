"""attn_ref: a pure-NumPy definition of every attention block, and the tools that hold other frameworks to it.

>>> import attn_ref as ar
>>> block = ar.MultiHeadAttention(width=8, num_heads=2)
>>> sorted(block.init(seed=0))[:2]
['key.bias', 'key.kernel']

Importing this imports no framework. Blocks are found by name: ``ar.MultiHeadAttention`` is the class in
``attn_ref/blocks/multi_head_attention.py``.
"""

from __future__ import annotations

from attn_ref import interrupts

if interrupts.is_command():  # before anything that takes time
    interrupts.catch(interrupts.leave)

from importlib import import_module
from typing import TYPE_CHECKING, Any

# before the function of the same name is bound below: a later import would bind the folder
import attn_ref.blocks  # noqa: F401
from attn_ref import attention, names
from attn_ref.block import Block, Input, Param
from attn_ref.catalogue import block, blocks, texts
from attn_ref.check import check
from attn_ref.derivative import jvp
from attn_ref.discovery import find
from attn_ref.engines import MissingBackend, backend, backends
from attn_ref.kv_cache import Decoding, KVCache
from attn_ref.mode import training
from attn_ref.seeds import seed, seeds
from attn_ref.tap import Tapped, add, record, replace, scope, tap

if TYPE_CHECKING:
    from attn_ref import port as port
    from attn_ref.live.transfer import transfer as transfer
    from attn_ref.verbs.compare import compare as compare
    from attn_ref.verbs.conform import conform as conform
    from attn_ref.verbs.identify import identify as identify
    from attn_ref.verbs.selftest import selftest as selftest

__version__ = "0.1.0.dev0"
__all__ = [
    "Block", "Decoding", "Input", "KVCache", "MissingBackend", "Param", "Tapped", "add", "attention", "backend",
    "backends", "block", "blocks", "check", "compare", "conform", "identify", "jvp", "port", "record", "replace",
    "scope", "seed", "seeds", "selftest", "tap", "training", "transfer",
]  # fmt: skip


class NoSuchName(AttributeError):
    """Says which name was meant, once it is shown: Python asks for many names that it does not need."""

    def __str__(self) -> str:
        name = self.name or ""
        known = [other for other in __dir__() if other[:1].isupper() or not name[:1].isupper()]
        hint = "" if name.startswith("_") else names.hint(name, known, texts())
        return f"{self.args[0]}; {hint}".rstrip("; ")


def __getattr__(name: str) -> Any:
    if name == "port":  # imported when first used: not needed to read or to run a block
        return import_module("attn_ref.port")
    if name == "transfer":
        return import_module("attn_ref.live.transfer").transfer
    if name in ("compare", "conform", "identify", "selftest"):
        return getattr(import_module(f"attn_ref.verbs.{name}"), name)
    if name[:1].isupper() and (found := find(name)):
        return found
    raise NoSuchName(f"module 'attn_ref' has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return sorted([*__all__, *blocks()])
