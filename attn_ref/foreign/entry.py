"""What a key of ``config.json`` says of a block's fields, and the other way: each said once, for both ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: no default
ABSENT: Any = object()
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """Keys of ``config.json`` that belong together, and how fields follow from them, and they from fields.

    Fields of blocks inside the block have dots: ``layer.attention.num_heads``. ``read`` raises ValueError for what the
    block cannot express.
    """

    keys: tuple[str, ...]
    read: Callable[[Values], Values]
    write: Callable[[Values], Values]
    #: the fields that it says, of a block without blocks inside
    fields: tuple[str, ...] = ()


def key(
    name: str,
    *fields: str,
    default: Any = ABSENT,
    values: Mapping[Any, Any] | None = None,
    inward: Callable[[Any], Any] = lambda value: value,
    outward: Callable[[Any], Any] = lambda value: value,
) -> Entry:
    """A key that is one or several fields, all alike. ``default``: what the library takes where it is silent.

    ``values``: the key's value -> the field's, the first of several being the one that is written.
    """
    back: dict[Any, Any] = {}
    for word, value in (values or {}).items():
        back.setdefault(value, word)

    def read(config: Values) -> Values:
        value = config.get(name, default)
        if value is ABSENT:
            return {}
        if values is not None:
            if not (isinstance(value, str | bool | int | None) and value in values):
                raise ValueError(f"{name} is {said(value)}; {' or '.join(map(said, values))} can be expressed")
            value = values[value]
        return dict.fromkeys(fields, inward(value))

    def write(held: Values) -> Values:
        value = outward(held[fields[0]])
        if values is not None:
            if value not in back:
                return {}
            value = back[value]
        return {name: value}

    return Entry((name,), read, write, fields)


def said(value: Any) -> str:
    """A value as ``config.json`` has it, in short."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


def letters(types: list[Any], other: Any) -> str:
    """One letter a layer, "o" for ``other``, as ``LanguageModel.pattern`` has them: the shortest that repeats so."""
    whole = "".join("o" if kind == other else "l" for kind in types)
    return next(whole[:n] for n in range(1, len(whole) + 1) if (whole[:n] * len(whole))[: len(whole)] == whole)


def spread(pattern: str, count: int) -> str:
    """A letter for each of ``count`` layers."""
    return (pattern * count)[:count]
