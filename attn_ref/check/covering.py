"""Which cases come first: plain ones, and a covering array over every pair of option values, inputs and styles.

Faults hide in combinations of two things, such as a causal mask where t ≠ s, and in fused calls that are taken only
where nothing else is asked for. Cases drawn at random have many options at once and seldom show either. So these come
before them, alike for every seed but for the values that fill them:

- plain cases: every option value, input and style by itself, everything else as it is by default;
- of attention's own options and inputs every two together, everything else as it is by default;
- cases in which whatever pairs are left meet, and of attention's own options and inputs every triple;
- a few large and oddly sized cases.

What can occur together is what did in ``POOL`` random blocks or in a plain one with any two choices changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import combinations, zip_longest
from typing import Any

import numpy as np

from attn_ref.block import Block, Pick
from attn_ref.check.cases import Case, draw
from attn_ref.check.features import Feature, core, dims_of, features, once, pairs, relation
from attn_ref.tap import record

#: random blocks among which greedy choices are made
POOL = 400
#: sizes by label of the plain cases: fewer queries than keys, as many, more, and one as in decoding; values as wide as
#: keys in all but the first, since fused kernels serve no others
VARIANTS = (
    {"b": 2, "t": 3, "s": 5, "g": 2, "r": 2, "d": 3, "e": 5},
    {"b": 3, "t": 5, "s": 5, "g": 2, "r": 1, "d": 5, "e": 5},
    {"b": 2, "t": 7, "s": 3, "g": 3, "r": 1, "d": 2, "e": 2},
    {"b": 3, "t": 1, "s": 7, "g": 1, "r": 2, "d": 7, "e": 7},
)
#: the same where two options meet: more queries than keys, and fewer, since lengths hide in one and alignment in the
#: other
PAIRED = (VARIANTS[2], {"b": 2, "t": 3, "s": 7, "g": 2, "r": 1, "d": 3, "e": 3})
#: batch, heads and queries alike, where masks of lower rank are easily read in another way; among the random ones
ALIKE = (
    {"b": 2, "t": 2, "s": 3, "g": 2, "r": 1},
    {"b": 3, "t": 3, "s": 3, "g": 3, "r": 1},
    {"b": 2, "t": 5, "g": 1, "r": 2},
)
#: sizes of the large cases, beyond 64 keys, tables of 128, 1024 and 2048 places, and batches of 8
LARGE = (
    {"t": 65, "s": 65, "b": 2},
    {"t": 5, "s": 129, "b": 1},
    {"t": 129, "s": 7, "b": 1},
    {"t": 1, "s": 2049, "b": 1},
    {"t": 1025, "s": 3, "b": 1},
    {"t": 2051, "s": 3, "b": 1},
    {"t": 2, "s": 3, "b": 17},
)
#: numbers (see ``load``), from which on a case is left out of rows that take long for each case
COSTLY = 2000
#: the same of an axis of space, one of several
WIDE = (33, 65)
#: numbers for every two places of one example: a large case has no more, as 1,025 places that see each other
SCORES = 2**21


class Steered:
    """``pick`` that takes the first option, which is the plain one, but for some ``changes``; sizes by chance."""

    def __init__(self, changes: dict[int, Any], seed: str) -> None:
        self.changes, self.chance = changes, random.Random(seed)
        #: what could be chosen at each call, sizes left out
        self.offered: list[tuple[Any, ...]] = []

    def __call__(self, *options: Any) -> Any:
        if all(type(option) is int for option in options):
            return options[int(self.chance.random() * len(options))]
        self.offered.append(options)
        wanted = self.changes.get(len(self.offered) - 1, options[0])
        return wanted if wanted in options else options[0]  # a size may have changed what is asked


def by_chance(*seed: Any) -> Pick:
    """``pick`` that is fast."""
    chance = random.Random(repr(seed))
    return lambda *options: options[int(chance.random() * len(options))]


def sized(wanted: dict[str, int], rest: Callable[..., Any], *, free: bool = False) -> Callable[..., int]:
    """Sizes by label: the wanted one where it is among the options, or within them if it is ``free``."""

    def size(label: str, *options: int) -> int:
        most = max(options)
        if label in wanted and (wanted[label] in options or free):
            return wanted[label]
        return most if label in wanted and wanted[label] > most else rest(*options)

    return size


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


@cache
def what_occurs(cls: Any) -> tuple[list[tuple[dict[int, Any], Case]], list[Case]]:
    """The plain cases, each with what was changed, and ``POOL`` random ones."""
    return list(plain_cases(cls)), list(random_cases(cls, POOL))


def plain_cases(cls: type[Block]) -> Iterator[tuple[dict[int, Any], Case]]:
    """The plain case in every size, then with any one choice changed, then with any two, and what was changed."""

    def make(changes: dict[int, Any], variant: int, *, of: Any = VARIANTS) -> tuple[Case, list[tuple[Any, ...]]]:
        pick = Steered(changes, f"{cls.__name__} {variant}")
        block = cls.sample(pick)
        sizes = sized(of[variant], lambda *options: options[(variant + 1) % len(options)])
        return draw(block, pick, 0, sizes=sizes), pick.offered

    def others(offered: list[tuple[Any, ...]], start: int = 0) -> Iterator[tuple[int, Any]]:
        for i, options in enumerate(offered[start:], start):
            yield from ((i, option) for option in dict.fromkeys(options) if option != options[0])

    singles = []
    for variant in range(len(VARIANTS)):
        case, offered = make({}, variant)
        yield {}, case
        singles += [({i: option}, variant) for i, option in others(offered)]
    for changes, variant in singles:
        yield changes, make(changes, variant)[0]
    for changes, variant in singles:
        if variant == 0:
            (last,) = changes
            _, offered = make(changes, variant)
            for i, option in others(offered, last + 1):
                both = {**changes, i: option}
                yield from ((both, make(both, k, of=PAIRED)[0]) for k in range(len(PAIRED)))


def random_cases(cls: type[Block], count: int) -> Iterator[Case]:
    """Cases in which anything may be chosen, half of them of few sizes."""
    for n in range(count):
        pick = by_chance(cls.__name__, n)
        few = (*VARIANTS, *ALIKE)
        sizes = sized(few[n // 2 % len(few)], pick) if n % 2 else None
        yield draw(cls.sample(pick), pick, 0, sizes=sizes)


def large_cases(cls: type[Block]) -> Iterator[Case]:
    """Large and odd sizes, one axis at a time, everything else plain, inputs left out and given; then two of space."""
    labels = {label for spec in cls.inputs.values() for label in spec.labels.split() if label[0].isalpha()}
    spatial = [label for label in sorted(labels) if label[0].isupper() and label not in cls.fixed]
    seen: set[str] = set()
    for n, wanted in enumerate(LARGE):
        given = {label: size for label, size in wanted.items() if label in labels}
        if not any(size > 16 for size in given.values()):
            continue
        for with_inputs in (True, False):
            pick = Steered({}, f"{cls.__name__} large {n}")
            block = cls.sample(pick)
            room = {field: given[label] for label, field in cls.limits.items() if label in given}
            block = replace(block, **{f: size for f, size in room.items() if size > (getattr(block, f) or size)})
            case = draw(block, Given(pick, with_inputs), 0, in_order, sized(given, small, free=True))
            dims = dims_of(case, block)
            large = any(dims.get(label) == size > 16 for label, size in given.items())  # keys may be those of queries
            if large and scores(cls, dims) <= SCORES and case.to_json() not in seen:
                seen.add(case.to_json())
                yield case
    for size, label in zip(WIDE, (spatial[0], spatial[-1]) if spatial else (), strict=False):
        pick = Steered({}, f"{cls.__name__} wide {label}")
        yield draw(cls.sample(pick), pick, 0, sizes=sized({label: size, "b": 1}, small, free=True))


def extreme_cases(cls: type[Block]) -> Iterator[Case]:
    """Plain cases with so large values that e to their power is infinite, one for each activation, gate or norm.

    What is written with such a power gives NaN in its gradient, where its value is right.
    """
    seen: set[str] = set()
    for changes, case in plain_cases(cls):
        words = str([x for x in case.fields.values() if isinstance(x, str)])
        if len(changes) < 2 and words not in seen and not case.empty():
            seen.add(words)
            styles = {n: "extreme" if cls.inputs[n].kind == "real" else style for n, style in case.styles.items()}
            yield replace(case, styles=styles)


def scores(cls: Any, dims: Mapping[str, int]) -> int:
    """How many numbers there are for every two places of one example; 0 of a block that compares no two places."""
    queries = dims.get("t", 0)
    return queries * dims.get("s", queries) if sees_pairs(cls) else 0


def load(case: Case) -> int:
    """How much a case is: the values of its inputs, and the numbers for every two places of an example."""
    block = case.build()
    return case.size() + scores(type(block), dims_of(case, block))


@cache
def sees_pairs(cls: Any) -> bool:
    """Has the block, or one inside it, a tap of all its queries by all its keys?"""
    case = next(plain_cases(cls))[1]
    dims = dims_of(case, case.build())
    with record() as taps:
        case.build()(case.weights(), **case.inputs())
    both = (dims.get("t", 0), dims.get("s", dims.get("t", 0)))
    return any(labels.endswith("t s") and np.shape(value)[-2:] == both for value, labels in taps.values())


class Given:
    """``pick``, and whether inputs that may be left out are ``given``."""

    def __init__(self, pick: Pick, given: bool) -> None:
        self.pick, self.given = pick, given

    def __call__(self, *options: Any) -> Any:
        return not self.given if options == (True, False) else self.pick(*options)


def in_order(*options: Any) -> Any:
    """The style of a large case: positions one after the other, so that every distance occurs; all else plain."""
    return options[-1] if options[-1] == "in order" else options[0]


def small(*options: int) -> int:
    """The second smallest."""
    return sorted(set(options))[:2][-1]


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
