"""Which blocks a check was asked for, and what is said to something that is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attn_ref.block import Block
from attn_ref.catalogue import block as find_block
from attn_ref.engines import backends

FRAMEWORKS = ("torch", "keras", "tensorflow", "jax", "flax")


def chosen(given: Sequence[Any]) -> list[type[Block]]:
    """The classes of ``given``, names or classes. ValueError with the way out for anything else."""
    found = []
    for item in given:
        if isinstance(item, str) and item in backends():
            raise ValueError(f"{item} is an engine, not a block: engines={item!r}, or --engine {item}")
        if not isinstance(item, str) and not (isinstance(item, type) and issubclass(item, Block)):
            taken = "a check takes names of blocks or their classes, such as 'FeedForward'"
            raise ValueError(f"{taken}; {_instead(item)}got {_shown(item)}")
        found.append(find_block(item) if isinstance(item, str) else item)
    return found


def _instead(item: Any) -> str:
    """What to do with a block, a mirror, a layer of a framework or a list."""
    cls = item if isinstance(item, type) else type(item)
    if isinstance(item, Block):
        return f"give {cls.__name__!r}, whose options it draws itself; "
    if cls.__module__.startswith("attn_ref_"):
        return f"give {cls.__name__!r}, whose mirrors it runs itself; "
    if isinstance(item, list | tuple | set | dict):
        return "several are given one after the other: check('FeedForward', 'CBAM'); "
    if any(base.__module__.partition(".")[0] in FRAMEWORKS for base in cls.__mro__):
        return (
            "it runs the mirrors of this project. A layer of your own is held to a block by "
            "ar.conform(layer, ar.FeedForward(width=…, hidden_width=…)); "
        )
    return ""


def _shown(item: Any, most: int = 200) -> str:
    text = repr(item)
    return text if len(text) <= most else f"{text[:most]}…"
