"""The maps, one file each with a constant ``MAP``, found by looking into this folder."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module

from attn_ref.backend import backends
from attn_ref.port.formats import formats
from attn_ref.port.mapping import Map

#: what people call a framework -> the map of its weights
ALSO = {"pytorch": "torch", "tf": "keras", "numpy": "canonical"}


def maps() -> dict[str, Map]:
    """Every map by name."""
    found = [import_module(f"{__name__}.{info.name}").MAP for info in pkgutil.iter_modules(__path__)]
    return {item.name: item for item in sorted(found, key=lambda item: item.name)}


def find(name: str) -> Map:
    """The map called ``name``; ValueError that lists them when there is none."""
    known = maps()
    if name not in known:
        raise ValueError(f"unknown map {name!r}; {hint(name, known)}the maps are {', '.join(known)}")
    return known[name]


def hint(name: str, known: Mapping[str, Map]) -> str:
    """What may have been meant: an engine's map, a format, a name with another case or with a slip."""
    engines = {engine: cls.name for engine, cls in backends().items()} | ALSO | {key.lower(): key for key in known}
    if (map_name := engines.get(name.lower())) in known:
        return f"the weights of {name} are those of map {map_name}; "
    if name.lower().lstrip(".") in {
        *formats(),
        *(suffix.lstrip(".") for f in formats().values() for suffix in f.SUFFIXES),
    }:
        return "that is a format, which the ending of the file's name chooses; "
    plain = {key.lower().removeprefix("hf."): key for key in known}
    short = name.lower().removeprefix("hf.")
    near = [key for low, key in plain.items() if low.startswith(short)] or [
        plain[low] for low in get_close_matches(short, plain, 1)
    ]
    return f"did you mean {' or '.join(near)}? " if near else ""
