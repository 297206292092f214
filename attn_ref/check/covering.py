"""Which cases come first: plain ones, and a covering array over every pair of option values, inputs and styles.

Faults hide in combinations of two things, such as a causal mask where t ≠ s, and in fused calls that are taken only
where nothing else is asked for. Cases drawn at random have many options at once and seldom show either. So these come
before them, alike for every seed but for the values that fill them:

- plain cases: every option value, input and style by itself, everything else as it is by default;
- of attention's own options and inputs every two together, everything else as it is by default;
- cases in which whatever pairs are left meet, and of attention's own options and inputs every triple;
- a few large and oddly sized cases.

What can occur together is what does so in one of ``pool``'s cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import combinations, zip_longest
from typing import Any

from attn_ref.block import Block
from attn_ref.check.cases import Case
from attn_ref.check.features import Feature, core, features, once, pairs, relation
from attn_ref.check.large import large_cases, load
from attn_ref.check.pool import what_occurs

#: numbers (see ``load``), from which on a case is left out of rows that take long for each case
COSTLY = 2000


def planned(cls: type[Block]) -> tuple[Case, ...]:
    """The cases that come first, of seed 0, plain and dense ones in turn."""
    known: Any = cls
    return _planned(known)


@cache
def _planned(cls: Any) -> tuple[Case, ...]:
    plain, drawn = what_occurs(cls)
    alone = [case for changes, case in plain if len(changes) < 2]
    two = [case for changes, case in plain if len(changes) == 2]
    pool = [*alone, *two, *drawn]
    found = [apart(cls, case) for case in pool]
    plainly = [*first_of(alone, lambda case: {(f, relation(case)) for f in features(case)})]
    plainly += first_of(two, lambda case: {(p, relation(case)) for p in combinations(sorted(core(case)), 2)}, plainly)
    wanted = Wanted(found, [core(case) for case in pool])
    for case in plainly:
        wanted.meet(apart(cls, case), core(case))
    dense = [pool[i] for i in wanted.greedy()]
    turns = [case for pair in zip_longest(plainly, dense) for case in pair if case is not None]
    return (*turns, *large_cases(cls))


def few_of(cls: type[Block], count: int, wanted: Callable[[Case], bool] | None = None) -> list[Case]:
    """So many of the planned cases for a costly row: the plainest in turn with those that bring most that is new.

    New is what was not chosen yet, and not together with the style of the first input. ``wanted`` says which are taken.
    """
    given = [
        case for case in planned(cls) if load(case) < COSTLY and not case.empty() and (wanted is None or wanted(case))
    ]
    first = next((name for name, spec in cls.inputs.items() if spec.kind == "real"), next(iter(cls.inputs)))
    told = {id(case): {what for f in features(case) for what in (f, (f, case.styles.get(first)))} for case in given}
    usual = features(planned(cls)[0])
    seen: set[Any] = set()
    found: list[Case] = []
    while given and len(found) < count:
        if len(found) % 2 == 0:
            best = min(given, key=lambda case: len(features(case) - usual))
        else:
            best = max(given, key=lambda case: len(told[id(case)] - seen))
        given = [case for case in given if case is not best]
        seen |= told[id(best)]
        found.append(best)
    return found


def first_of(given: Iterable[Case], told: Callable[[Case], set[Any]], before: Iterable[Case] = ()) -> list[Case]:
    """Those of ``given`` that bring anything new of what is ``told`` of them."""
    seen = {what for case in before for what in told(case)}
    found = []
    for case in given:
        if new := told(case) - seen:
            seen |= new
            found.append(case)
    return found


class Wanted:
    """Pairs of features, and triples of core ones, as bits of whole numbers."""

    def __init__(self, found: list[frozenset[Feature]], cores: list[frozenset[Feature]]) -> None:
        self.bits: dict[Any, int] = {}
        self.masks = [self.mask(a, b) for a, b in zip(found, cores, strict=True)]
        self.left = (1 << len(self.bits)) - 1

    def mask(self, found: frozenset[Feature], cores: frozenset[Feature]) -> int:
        """The pairs and triples of a case."""
        mask = 0
        for what in (*pairs(found), *combinations(sorted(cores), 3)):
            mask |= 1 << self.bits.setdefault(what, len(self.bits))
        return mask

    def meet(self, found: frozenset[Feature], cores: frozenset[Feature]) -> None:
        """A case of these was taken."""
        self.left &= ~self.mask(found, cores)

    def greedy(self) -> Iterator[int]:
        """Indices of cases, that with most of what is left first, until nothing is."""
        while self.left:
            best = max(range(len(self.masks)), key=lambda i: (self.masks[i] & self.left).bit_count())
            if not self.masks[best] & self.left:
                return
            self.left &= ~self.masks[best]
            yield best


def coverage(cls: type[Block], ran: Iterable[Case]) -> tuple[int, int]:
    """(pairs that some of ``ran`` have, pairs that can occur together)."""
    known: Any = cls
    able = possible(known)
    met = {pair for found in {apart(cls, case) for case in ran} for pair in pairs(found)}
    return len(able & met), len(able)


@cache
def possible(cls: Any) -> frozenset[tuple[Feature, Feature]]:
    """The pairs of features that can occur together, of those that are apart."""
    plain, drawn = what_occurs(cls)
    every = {apart(cls, case) for case in (*(case for _, case in plain), *drawn)}
    return frozenset(pair for found in every for pair in pairs(found))


def apart(cls: type[Block], case: Case) -> frozenset[Feature]:
    """The features of a case, those that always come together as one of them, which is there if all are.

    A part of a model is drawn as a whole, so its thirty options are one choice: what meets one of them meets all.
    """
    known: Any = cls
    found = features(case)
    return once(case, "apart", lambda case: frozenset(name for name, all_of in groups(known) if all_of <= found))


@cache
def groups(cls: Any) -> list[tuple[Feature, frozenset[Feature]]]:
    """The features that can occur, those that are in the very same cases in one group, and the first of each."""
    plain, drawn = what_occurs(cls)
    where: dict[Feature, int] = {}
    for n, case in enumerate((*(case for _, case in plain), *drawn)):
        for feature in features(case):
            where[feature] = where.get(feature, 0) | 1 << n
    alike: dict[int, list[Feature]] = {}
    for feature in sorted(where):
        alike.setdefault(where[feature], []).append(feature)
    return [(found[0], frozenset(found)) for found in alike.values()]
