"""The maps, one file each with a constant ``MAP``, found by looking into this folder."""

from __future__ import annotations

import pkgutil
from difflib import get_close_matches
from importlib import import_module

from attn_ref.port.mapping import Map


def maps() -> dict[str, Map]:
    """Every map by name."""
    found = [import_module(f"{__name__}.{info.name}").MAP for info in pkgutil.iter_modules(__path__)]
    return {item.name: item for item in sorted(found, key=lambda item: item.name)}


def find(name: str) -> Map:
    """The map called ``name``; ValueError that lists them when there is none."""
    known = maps()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown map {name!r}; {hint}the maps are {', '.join(known)}")
    return known[name]
