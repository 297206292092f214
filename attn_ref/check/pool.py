"""The cases among which a check chooses: plain ones with few choices changed, and random ones.

What can occur together is what did in ``POOL`` random blocks or in a plain one with any two choices changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from attn_ref.block import Block, Pick
from attn_ref.check.cases import Case, draw

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
