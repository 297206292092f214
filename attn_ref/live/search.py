"""The search for whose parameter is whose: a guess is run, and what it leaves open is settled by running others.

Both models run with numbers of which no two parameters have the same. Where the target first has a value that the
source never has, one of the parameters behind it is wrong, or the two models differ there. Other rules for these are
tried; one by which the target has more of the source's values is taken, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from attn_ref.live.ends import Arrays, End, Run, witness
from attn_ref.live.guess import guess, is_kernel, pieces
from attn_ref.live.layouts import Hints, parts, rules, unique
from attn_ref.live.rule import Rule
from attn_ref.live.seen import Seen
from attn_ref.live.uses import Use, uses

#: runs of the target that a search may take, and rules that are tried for one parameter
RUNS, EACH = 200, 12
#: runs without a better one after which no others are tried
PATIENCE = 24
#: layers beside one with which it may be confused
NEAR = 4
#: sizes of heads that are tried
HEADS = 8
Rules = dict[str, Rule]
#: rules that are tried at once, and those with which they are compared
Change = Mapping[str, Rule]


@dataclass
class Search:
    """What is tried, and what came of it."""

    source: End
    target: End
    #: what the user said, which stays
    pinned: Rules = field(default_factory=dict)
    tell: Callable[[str], None] = lambda what: None
    runs: int = 0
    narrow: bool = False

    def __post_init__(self) -> None:
        self.numbers = witness(self.source.numbers, "source")
        self.own = witness(self.target.numbers, "target")
        self.left = self.source.run(self.numbers)
        self.first = self.target.run(self.own)
        self.narrow = self.left.trace.narrow or self.first.trace.narrow
        self.sources = {use.name: use for use in uses(self.left, self.numbers)}
        self.targets = {use.name: use for use in uses(self.first, self.own)}
        self.hints = hints(self)

    def made(self, chosen: Rules, numbers: Arrays, own: Arrays) -> dict[str, np.ndarray]:
        """The target's numbers by these rules; its own where there is none."""
        rules = {name: rule for name, rule in chosen.items() if rule.join != "keep"}
        return {name: rules[name](numbers) if name in rules else x for name, x in own.items()}

    def run(self, chosen: Rules) -> Seen:
        """Both, with the target's numbers by these rules."""
        self.runs += 1
        self.tell(f"run {self.runs}")
        return Seen(self.left, self.target.run(self.made(chosen, self.numbers, self.own)))

    def best(self, start: Rules | None = None) -> tuple[Rules, Seen]:
        """The rules by which most is the source's, from some or from a guess."""
        chosen = dict(start or guess([*self.sources.values()], [*self.targets.values()], self.hints))
        chosen |= self.pinned
        seen = self.run(chosen)
        while not seen.agree and self.runs < RUNS:
            last = self.runs + PATIENCE
            for change in self.changes(chosen, seen):
                change = {name: rule for name, rule in change.items() if name not in self.pinned}
                if not change or all(chosen.get(name) == rule for name, rule in change.items()):
                    continue
                now = self.run({**chosen, **change})
                if now.score > seen.score:
                    also = self.alike(chosen, change)
                    more = self.run({**chosen, **change, **also}) if also and not now.agree else now
                    if more.score > now.score:
                        chosen, seen = {**chosen, **change, **also}, more
                    else:
                        chosen, seen = {**chosen, **change}, now
                    break
                if self.runs >= min(RUNS, last):
                    return chosen, seen
            else:
                break
        return chosen, seen

    def alike(self, chosen: Rules, change: Change) -> Rules:
        """The same change for parameters further on that are called alike but for numbers."""
        found = {}
        for name, rule in change.items():
            before = chosen.get(name)
            if before is None or before.sources != rule.sources:
                continue
            for other, its in chosen.items():
                same = its.shape == rule.shape and replace(its, sources=()) == replace(before, sources=())
                if other not in change and other not in self.pinned and same and bare(other) == bare(name):
                    found[other] = replace(rule, sources=its.sources)
        return found

    def changes(self, chosen: Rules, seen: Seen) -> Iterator[Change]:
        """What else may be, for the parameters behind the first values that differ."""
        groups = [names for _, names in seen.frontier(True)]
        near = list(dict.fromkeys(name for _, names in seen.frontier(False) for name in names))
        mine = list(dict.fromkeys(name for names in groups for name in names))
        every: dict[str, list[Rule]] = {}
        for name in mine:
            every[name] = unique(self.others(name, chosen.get(name), near), [chosen[name]] if name in chosen else [])
        yield from self.units(mine, near, chosen)
        for name in mine:
            sources = chosen[name].sources if name in chosen else ()
            yield from ({name: rule} for rule in every[name][:EACH] if rule.sources == sources)
        yield from self.exchanges(mine, chosen)
        yield from self.confused(seen.before(), chosen)
        for name in mine:
            sources = chosen[name].sources if name in chosen else ()
            yield from ({name: rule} for rule in every[name][:EACH] if rule.sources != sources)
        for names in groups:
            for one in names[:2]:
                for other in names[:3]:
                    if one < other:
                        yield from ({one: a, other: b} for a in every[one][:4] for b in every[other][:4])

    def confused(self, names: list[str], chosen: Rules) -> Iterator[Change]:
        """Layers whose values are right by themselves, and are another layer's: they exchange what they are made of."""
        order = list(dict.fromkeys(use.unit for use in self.targets.values() if use.first is not None))
        for unit in dict.fromkeys(self.targets[name].unit for name in names):
            others = sorted((other for other in order if other != unit),
                            key=lambda other: abs(order.index(other) - order.index(unit)))  # fmt: skip
            its = [use.name for use in self.targets.values() if use.unit == unit]
            yield from islice((change for other in others for change in self.exchanges([*its[:1], *(
                use.name for use in self.targets.values() if use.unit == other)], chosen)), NEAR)  # fmt: skip

    def exchanges(self, mine: list[str], chosen: Rules) -> Iterator[Change]:
        """Layers that exchange what they are made of, all their parameters at once."""
        layers: dict[str, list[str]] = {}
        for unit in dict.fromkeys(self.targets[name].unit for name in mine):
            layers[unit] = [use.name for use in self.targets.values() if use.unit == unit]
        kinds = list(layers.items())
        for i, (_, names) in enumerate(kinds):
            for _, others in kinds[i + 1 :]:
                change: Rules = {}
                for name in names:
                    for other in others:
                        a, b = chosen.get(name), chosen.get(other)
                        if a and b and a.shape == b.shape and self.targets[name].role == self.targets[other].role:
                            change |= {name: b, other: a}
                if change:
                    yield change

    def units(self, mine: list[str], near: list[str], chosen: Rules) -> Iterator[Change]:
        """All parameters of a layer of the target from one layer of the source, in the way of a first guess.

        The layer that had these before is given in exchange what this one had.
        """
        layers = dict.fromkeys(self.targets[name].unit for name in mine)
        theirs = dict.fromkeys(self.sources[name].unit for name in near)
        for layer in layers:
            its = [use for use in self.targets.values() if use.unit == layer]
            for other in theirs:
                ours = [use for use in self.sources.values() if use.unit == other]
                change: Rules = {}
                for use in its:
                    same = [one for one in ours if one.role == use.role and one.size == use.size]
                    if len(same) == 1:
                        change |= pieces(same, [use], self.hints, self.sources)
                if change:
                    yield {**self.exchanged(change, chosen), **change}

    def exchanged(self, change: Rules, chosen: Rules) -> Rules:
        """What parameters are given of which others take the sources now."""
        found: Rules = {}
        for name, rule in change.items():
            before = chosen.get(name)
            for other, its in chosen.items():
                if other not in change and its.sources == rule.sources and before and before.shape == its.shape:
                    found[other] = before
        return found

    def others(self, name: str, now: Rule | None, near: list[str]) -> Iterator[Rule]:
        """The rules that a parameter may have: of the sources that it has now, then of those that are near."""
        use = self.targets[name]
        if now is not None and now.sources:
            yield from self.of(use, [self.sources[one] for one in now.sources])
        for one in near:
            yield from self.of(use, [self.sources[one]])
        same: dict[int, list[Use]] = {}
        for one in near:
            same.setdefault(self.sources[one].size, []).append(self.sources[one])
        for size, group in same.items():
            count = use.size // size if size and use.size % size == 0 else 0
            if 1 < count <= len(group):
                for step in range(1, len(group) // count + 1):
                    for start in range(len(group) - (count - 1) * step):
                        yield from self.of(use, group[start : start + count * step : step][:count])

    def of(self, use: Use, sources: list[Use]) -> Iterator[Rule]:
        """The rules by which it is made of these."""
        names, shapes = [one.name for one in sources], [one.shape for one in sources]
        kernel = is_kernel(sources[0], use)
        if len(sources) > 1 or sources[0].size == use.size:
            yield from islice(rules(use.shape, names, shapes, self.hints, kernel), EACH)
            if len(sources) == 1:
                yield from pieces(sources, [use], self.hints, self.sources).values()
        elif use.size and sources[0].size % use.size == 0 and sources[0].role == use.role:
            count = sources[0].size // use.size
            ways = [parts(use.shape, names[0], shapes[0], self.hints, i, count, kernel) for i in range(min(count, 16))]
            for found in zip(*(islice(way, EACH) for way in ways), strict=False):
                yield from found


def bare(name: str) -> str:
    """A name without numbers."""
    return re.sub(r"\d+", "", name)


def hints(search: Search) -> Hints:
    """What the values of both say of how axes may be cut."""
    flat: set[tuple[int, ...]] = set()
    heads: dict[int, int] = {}
    for run in (search.left, search.first):
        for record in run.trace.records:
            shape = record.value.shape
            if len(shape) > 2:
                flat |= {shape[1:], shape[2:]} if len(shape) > 3 else {shape[1:]}
            if len(shape) > 3:
                for size in shape[1:-1]:
                    heads[size] = heads.get(size, 0) + 1
    often = sorted((n for n in heads if n > 1), key=lambda n: -heads[n])[:HEADS]
    sizes = {n for use in search.sources.values() for n in use.shape}
    maps = frozenset(x for x in flat if int(np.prod(x)) in sizes and 1 not in x)
    return Hints(search.source.framework, search.target.framework, maps, tuple(often))


def runs_of(search: Search, chosen: Rules, real: Arrays, own: Arrays) -> tuple[Run, Run]:
    """Both with other numbers than those of the search."""
    return search.source.run(real), search.target.run(search.made(chosen, real, own))
