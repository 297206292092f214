"""An option of a block, said once: default, meaning, rule, what it needs, a value that acts, and what cases draw.

    softcap: float | None = option(
        default=None, meaning="the bound c of c·tanh(scores / c); None: no bound", above=0, witness=1.0,
        draw=(None, None, 1.5, 30.0),
    )

Validation, pages, cases and tests follow from it, and the constructors of mirrors are written from it
(``tools/signatures.py``). What a value may be also follows from its type: ``bool`` is True or False, ``None`` is
allowed where the type says so. ``default`` goes by name, since type checkers read it there (PEP 681).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any

#: several numbers, as a type is written
NUMBERS = "tuple[float,...]"
#: no witness
NONE_GIVEN: Any = object()


@dataclass(frozen=True)
class Option:
    """What is said of an option besides its name, type and default."""

    meaning: str
    #: names that it may be
    choices: tuple[str, ...] = ()
    #: a block, with this role
    role: str = ""
    #: a number: above this, at least this, below this, at most this
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    #: the option without which it does not act
    needs: str = ""
    #: a value that, against the block's example, changes the result; or that and other options, by name
    witness: Any = NONE_GIVEN
    #: what ``Block.drawn`` picks from
    draw: tuple[Any, ...] = ()

    def fits(self, value: Any, types: frozenset[str]) -> bool:
        """May the option be ``value``, with a type that is declared so?"""
        if self.role and value is not None:
            return getattr(value, "role", "") == self.role and not isinstance(value, type)
        if value is None or isinstance(value, bool):
            return type(value).__name__.replace("NoneType", "None") in types
        if isinstance(value, str):
            return "str" in types and (not self.choices or value in self.choices)
        if isinstance(value, tuple):
            return NUMBERS in types and all(self.fits(x, frozenset({"float"})) for x in value)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if not types & ({"int", "float"} if isinstance(value, int) else {"float"}):
            return False
        return (
            (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def words(self, types: frozenset[str]) -> str:
        """What the option may be, in words."""
        if self.role:
            return f"a block whose role is {self.role}" + (", or None" if "None" in types else "")
        named = [repr(name) for name in self.choices]
        if types <= {"str", "None"}:
            return f"one of {', '.join(['None'] * ('None' in types) + named)}"
        found = [
            *named,
            *[self.number("an integer" if "int" in types else "a number")] * bool(types & {"int", "float"}),
        ]
        found += [f"a tuple of which each is {self.number('a number')}"] * (NUMBERS in types)
        found += ["True", "False"] * ("bool" in types) + ["None"] * ("None" in types)
        last = ", or " if self.least is not None and len(found) == 2 else " or "
        return found[0] if len(found) == 1 else f"{', '.join(found[:-1])}{last}{found[-1]}"

    def number(self, kind: str) -> str:
        """Which numbers it may be."""
        if self.least is not None and self.below is not None:
            return f"{kind} in [{self.least:g}, {self.below:g})"
        if self.least is not None and self.most is not None:
            return f"{kind} in [{self.least:g}, {self.most:g}]"
        if self.above is not None:
            return f"{kind} above {'zero' if self.above == 0 else f'{self.above:g}'}"
        if self.least is not None:
            return f"{kind} from {'zero' if self.least == 0 else f'{self.least:g}'} up"
        return kind


def option(
    *,
    default: Any = MISSING,
    meaning: str,
    choices: tuple[str, ...] = (),
    role: str = "",
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    needs: str = "",
    witness: Any = NONE_GIVEN,
    draw: tuple[Any, ...] = (),
) -> Any:
    """A field of a block (see ``Option``). Without ``default`` it has to be given."""
    said = Option(meaning, choices, role, above, least, below, most, needs, witness, draw)
    return dataclasses.field(default=default, metadata={"option": said})


def same(block: type, name: str, **changes: Any) -> Any:
    """An option that ``block`` has too, and that is handed on to it: the same in all but ``changes``.

    Not for one that has to be given: type checkers take what this gives for a default.
    """
    (field,) = [field for field in dataclasses.fields(block) if field.name == name]  # type: ignore[arg-type]
    if field.default is MISSING:
        raise TypeError(f"{name} of {block.__name__} has no default; declare it with option()")
    said = dataclasses.replace(field.metadata["option"], **changes)
    return dataclasses.field(default=field.default, metadata={"option": said, "of": block})


def options(cls: type) -> Mapping[str, tuple[Option, frozenset[str]]]:
    """Name -> (what is said, the types that are declared), of the options of a block that are declared so."""
    known: Any = cls
    return _options(known)


@cache
def _options(cls: Any) -> Mapping[str, tuple[Option, frozenset[str]]]:
    fields = dataclasses.fields(cls)
    return {
        field.name: (field.metadata["option"], declared(field.type)) for field in fields if "option" in field.metadata
    }


def declared(kind: Any) -> frozenset[str]:
    """The names of the types in an annotation, be it text or not: {"float", "None"}."""
    text = kind if isinstance(kind, str) else kind.__name__ if isinstance(kind, type) else str(kind)
    return frozenset(text.replace(" ", "").split("|"))


def witnesses(cls: type) -> dict[str, Any]:
    """Name -> witness of what a class declares, before it is made a dataclass."""
    declared = {name: value.metadata["option"] for name, value in vars(cls).items() if is_option(value)}
    return {name: said.witness for name, said in declared.items() if said.witness is not NONE_GIVEN}


def is_option(value: Any) -> bool:
    """Is it what ``option`` gives?"""
    return isinstance(value, dataclasses.Field) and "option" in value.metadata
