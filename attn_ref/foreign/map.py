"""What a map is: an invertible list of rules between a foreign naming and layout and the canonical one.

Canonical is the hub: a weight goes from its file's names to canonical ones by one map, and from there by another map
to the names of the file that is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase, translate
from functools import cache, lru_cache
from itertools import islice
from typing import Any, NamedTuple

from attn_ref.block import Block
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.part import Part, covered
from attn_ref.foreign.rules import Rule, snake

#: a whole number as names have it, and how many of them are looked at in a name
NUMBER = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]{0,8})(?![0-9])")
NUMBERS = 16


class Variant(NamedTuple):
    """How one file spells a map's names: what stands before them, and which of the known spellings it uses."""

    prefix: str = ""
    spelling: str = ""


@dataclass(frozen=True, kw_only=True)
class Map:
    """A map: data, and the questions that one asks of it."""

    name: str
    summary: str
    #: the formats whose files have such names
    formats: tuple[str, ...]
    #: "module:function" that runs such a file in its own framework (see ``attn_ref.port.ends``); that of a peer is the
    #: ``run_file`` of its module
    end: str = ""
    #: the packages that this takes, and what of attn_ref installs them
    needs: tuple[str, ...] = ()
    extra: str = ""
    #: the block that such files hold; None: any, and ``derive`` makes the rules from its parameters
    block: str | None = None
    rules: tuple[Rule, ...] = ()
    derive: Callable[[Any], Iterable[Rule]] | None = None
    #: foreign name (``*`` for anything) -> why it is left out
    unused: Mapping[str, str] = field(default_factory=dict)
    #: foreign names that such files always have: without them it is another map whose names they are
    marks: tuple[str, ...] = ()
    #: of these, the linear layers that come after the model and can be carried beside it, by what ``.weight`` is behind
    heads: tuple[str, ...] = ()
    #: what may stand before every name, ``{block}`` being the block's; the first is the default
    prefixes: tuple[str, ...] = ("",)
    #: name -> the name of a tensor that it is, in files that hold a shared one twice
    twins: Mapping[str, str] = field(default_factory=dict)
    #: names before which no prefix stands
    outside: tuple[str, ...] = ()
    #: another spelling's name -> end of a foreign name, or all of one with ``{i}`` -> how it is in that spelling
    spellings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: field of the block -> the values that such files can mean
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    #: fields of the block that say what is done with such a model, not what it is: any value will do
    beside: tuple[str, ...] = ()
    #: is it the target's map only where it is named? Then another map is what its format stands for
    by_name: bool = False
    #: of a block: what such files cannot mean, a line each; it takes the place of ``only``
    refuses: Callable[[Any], list[str]] | None = None
    #: of a block: what else such files cannot mean, beside what ``only`` and the fields say
    besides: Callable[[Any], list[str]] | None = None
    #: the inputs that what such files belong to has; None: all of the block's
    inputs: tuple[str, ...] | None = None
    #: how ``config.json`` and shapes give the block's fields
    fields: FieldRules | None = None

    def variants(self) -> list[Variant]:
        """Every spelling, the default first."""
        return [Variant(prefix, spelling) for prefix in self.prefixes for spelling in ("", *self.spellings)]

    def spell(self, foreign: str, variant: Variant, block: str) -> str:
        """A rule's foreign name as a file of this variant has it."""
        for end, other in self.spellings.get(variant.spelling, {}).items():
            if "{i}" in end and (i := number(end, foreign)) is not None:
                foreign = other.replace("{i}", i)
                break
            if foreign.endswith(end):
                foreign = foreign.removesuffix(end) + other
                break
        return foreign if foreign in self.outside else variant.prefix.replace("{block}", snake(block)) + foreign

    def rules_for(self, block: Block) -> list[Rule]:
        """A rule for each parameter of ``block``, without ``{i}``. ValueError if one has none, or two share a name."""
        found = list(self.derive(block)) if self.derive else list(self._matching(block.params()))
        without = block.params().keys() - {rule.canonical for rule in found}
        if without:
            raise ValueError(f"map {self.name} has no rule for {', '.join(sorted(without))} of {type(block).__name__}")
        if len({(rule.foreign, rule.part) for rule in found}) < len(found):
            raise ValueError(f"map {self.name} gives two parameters of {type(block).__name__} the same name")
        parts: dict[str, list[Part | None]] = {}
        for rule in found:
            parts.setdefault(rule.foreign, []).append(rule.part)
        if torn := [name for name, own in parts.items() if not covered(own)]:
            raise ValueError(f"map {self.name} has no rule for all of {', '.join(torn)} of {type(block).__name__}")
        return found

    def inexpressible(self, block: Block) -> list[str]:
        """What of ``block`` such files cannot mean, a line each: a field that no rule names has to be neutral.

        A map for any block expresses all fields: its files say them themselves.
        """
        if self.block is None:
            return []
        if self.refuses:
            return [f"files of map {self.name} cannot mean {line}" for line in self.refuses(block)]
        known, lines = self.fields or FieldRules(), list[str]()
        if self.besides:
            lines += [f"files of map {self.name} cannot mean {line}" for line in self.besides(block)]
        if known.blocks:
            kind, told = type(block).__name__, known.strays(block, self.beside)
            return lines + [f"files of map {self.name} mean {means}; this {kind} has {got}" for means, got in told]
        named = {*known.sizes, *known.raw, *block.counts, *known.present, *known.kinds, *known.config, *self.beside}
        named |= {name for entry in known.entries for name in entry.fields}
        for option in fields(block):
            got, values = getattr(block, option.name), self.only.get(option.name)
            if values is None and option.name in known.values:
                values = tuple(dict.fromkeys(known.values[option.name].values()))
            if values is None and option.name not in named:
                values = (option.default,)
            tensor = known.sizes.get(option.name, ("",))[0]
            if got is None and any(rule.canonical == tensor for rule in self.rules):
                lines.append(f"files of map {self.name} hold {tensor}; this {type(block).__name__} has none")
            if values is not None and got not in values:
                means, kind = " or ".join(map(repr, values)), type(block).__name__
                lines.append(f"files of map {self.name} mean {option.name} = {means}; this {kind} has {got!r}")
        return lines

    def _matching(self, names: Iterable[str]) -> Iterator[Rule]:
        rules = Patterns((rule.canonical, rule) for rule in self.rules)
        for name in names:
            for i, rule in rules.fitting(name):
                yield replace(rule, foreign=rule.foreign.replace("{i}", i), canonical=name)

    def canonical(self, keys: Iterable[str], variant: Variant) -> dict[str, list[Rule]]:
        """Key -> its rules without ``{i}``, one for each part, for the keys that a rule with a pattern names."""
        rules = Patterns((self.spell(rule.foreign, variant, self.block or ""), rule) for rule in self.rules)
        found: dict[str, list[Rule]] = {}
        for key in rules.of(tuple(keys)):
            for i, rule in rules.fitting(key):
                there = rule.canonical.replace("{i}", i)
                found.setdefault(key, []).append(replace(rule, foreign=key, canonical=there))
        return found

    def reason(self, key: str, variant: Variant, block: str) -> str | None:
        """Why ``key`` is deliberately left out, or None if it is not."""
        bare = key.removeprefix(variant.prefix.replace("{block}", snake(block)))
        any_of = one_of(tuple(self.unused))
        if not any_of.match(key) and not any_of.match(bare):
            return None
        fitting = (why for name, why in self.unused.items() if fnmatchcase(key, name) or fnmatchcase(bare, name))
        return next(fitting, None)


class Patterns:
    """Rules by pattern, looked up and not tried one by one: a file may have names by the hundred thousand."""

    def __init__(self, rules: Iterable[tuple[str, Rule]]) -> None:
        self.rules: dict[str, list[Rule]] = {}
        for pattern, rule in rules:
            self.rules.setdefault(pattern, []).append(rule)

    def of(self, names: tuple[str, ...]) -> list[str]:
        """Those of ``names`` that a pattern may fit, in their order: they are as it is but for their numbers."""
        known = by_frame(names)
        frames = {frame(pattern.replace("{i}", "0")) for pattern in self.rules}
        return [names[at] for at in sorted(at for one in frames for at in known.get(one, ()))]

    def fitting(self, name: str) -> Iterator[tuple[str, Rule]]:
        """(what ``{i}`` stands for in ``name``, the rule), for every rule whose pattern fits."""
        yield from (("", rule) for rule in self.rules.get(name, ()))
        for match in islice(NUMBER.finditer(name), NUMBERS):
            pattern = f"{name[: match.start()]}{{i}}{name[match.end() :]}"
            yield from ((match[0], rule) for rule in self.rules.get(pattern, ()))


def frame(name: str) -> str:
    """A name without its numbers."""
    return NUMBER.sub("{i}", name)


@lru_cache(maxsize=2)  # those of one file, whichever map and spelling asks
def by_frame(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Frame -> where the names stand that have it."""
    found: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        found.setdefault(frame(name), []).append(at)
    return found


@cache
def one_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """What any of the patterns with * and ? fits; nothing where there are none."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")


def number(pattern: str, name: str) -> str | None:
    """The number that ``{i}`` stands for when ``pattern`` is ``name``; "" if it has no ``{i}``; None if it is not."""
    before, mark, after = pattern.partition("{i}")
    if not mark:
        return "" if pattern == name else None
    middle = name[len(before) : len(name) - len(after)]
    return middle if name.startswith(before) and name.endswith(after) and NUMBER.fullmatch(middle) else None
