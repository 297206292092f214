"""The maps: our own, one file each with a constant ``MAP``, found by looking into this folder; and those of peers."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from attn_ref import foreign, names
from attn_ref.engines import backends
from attn_ref.foreign.map import Map
from attn_ref.names import squeezed, suggest
from attn_ref.port.formats import formats


def maps() -> dict[str, Map]:
    """Every map by name."""
    found = [import_module(f"{__name__}.{info.name}").MAP for info in pkgutil.iter_modules(__path__)]
    found += foreign.maps().values()
    return {item.name: item for item in sorted(found, key=lambda item: item.name)}


def find(name: str) -> Map:
    """The map called ``name``; ValueError that lists them when there is none."""
    known = maps()
    if name not in known:
        raise ValueError(f"unknown map {name!r}; {hint(name, known)}the maps are {', '.join(known)}")
    return known[name]


def hint(name: str, known: Mapping[str, Map]) -> str:
    """What may have been meant: the map of a framework, a format, or a map whose name is like it."""
    frameworks = {engine: cls.name for engine, cls in backends().items()} | {"numpy": "canonical"}
    (framework, *_) = [*suggest(name, frameworks), ""]
    if frameworks.get(framework) in known and squeezed(name) != squeezed(frameworks[framework]):
        return f"the weights of {name} are those of map {frameworks[framework]}; "
    endings = {suffix.lstrip(".") for form in formats().values() for suffix in form.SUFFIXES}
    if name.lower().lstrip(".") in {*formats(), *endings} - {*known}:
        return "that is a format, which the ending of the file's name chooses; "
    return names.hint(name, known)
