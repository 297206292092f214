"""What a layer that is not ours can mean of a block: whatever it does not name has to be neutral.

Opt-in and never opt-out: an option that a block gets later is refused by every such layer until it says that it has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from attn_ref.block import Block

#: field -> (does its value fit?, what would)
Rules = Mapping[str, tuple[bool, str]]


def strays(block: Block, named: Collection[str]) -> Iterator[tuple[str, Any, Any]]:
    """(field, value, default) of the fields that nobody names and that are not as they are by default."""
    for field in fields(block):
        value = getattr(block, field.name)
        if field.name not in named and value != field.default:
            yield field.name, value, field.default


def inexpressible(block: Block, anything: Iterable[str], rules: Rules) -> list[str]:
    """What of ``block`` cannot be meant by who takes any value of ``anything`` and has ``rules``, a line each.

    Every other field should be as it is by default.
    """
    lines = [f"{name} = {getattr(block, name)!r} (only {rule})" for name, (fits, rule) in rules.items() if not fits]
    for name, value, default in strays(block, {*anything, *rules}):
        lines.append(f"{name} = {value!r} (only {default!r})")
    return lines


def refuse(what: str, lines: Iterable[str]) -> None:
    """ValueError if there are ``lines``, which say what of a block ``what`` cannot express."""
    if told := "; ".join(lines):
        raise ValueError(f"{what} cannot express {told}")


def refuse_inputs(what: str, given: Mapping[str, Any], known: Mapping[str, str] | Iterable[str]) -> None:
    """ValueError if an input is given that ``what`` does not know."""
    if strange := [name for name, value in given.items() if value is not None and name not in set(known)]:
        raise ValueError(f"{what} cannot express the input {' and '.join(strange)}; it takes {', '.join(known)}")
