"""A first guess of which parameter is whose: both lists in the order of use, aligned by size, role and name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from attn_ref.live.layouts import Hints, gated, parts, rules
from attn_ref.live.rule import Rule
from attn_ref.live.uses import Use, place, split

#: what it costs to leave one out, and to take several for one
ALONE, SEVERAL = 1.0, 0.3
#: parts that one may have, kinds of them, and heads
PARTS, KINDS, HEADS = (2, 3, 4), (1, 2, 3), (2, 3, 4, 5, 6, 8, 12, 16)
#: parameters that one step takes at most
MOST = 48
#: words for the same
WORDS = {
    "query": "q", "key": "k", "value": "v", "output": "out", "attention": "attn", "norm": "ln",
    "embeddings": "embedding", "emb": "embedding", "embed": "embedding", "decoder": "dec", "encoder": "enc",
    "downsample": "shortcut", "residual": "shortcut", "skip": "shortcut", "proj": "out",
}  # fmt: skip


@dataclass(frozen=True)
class Move:
    """The next so many of the source are the next so many of the target."""

    sources: int
    targets: int


def guess(sources: Sequence[Use], targets: Sequence[Use], hints: Hints) -> dict[str, Rule]:
    """Parameter of the target -> how it may be made of the source's."""
    found: dict[str, Rule] = {}
    if hints.way == 0 and {(use.name, use.shape) for use in sources} == {(use.name, use.shape) for use in targets}:
        return {use.name: Rule((use.name,), use.shape) for use in targets if use.first is not None}
    used = [[use for use in every if use.first is not None] for every in (sources, targets)]
    for role in dict.fromkeys(use.role for use in used[1]):
        mine, its = ([use for use in every if use.role == role] for every in used)
        for one, other in aligned(mine, its):
            found |= pieces(one, other, hints, {use.name: use for use in sources})
    taken = {name for rule in found.values() for name in rule.sources}
    left = [use for use in used[0] if use.name not in taken]
    for use in used[1]:  # one that is a kernel here may be called a bias there
        same = next((one for one in left if one.size == use.size), None) if use.name not in found else None
        if same is not None:
            left.remove(same)
            found[use.name] = next(iter(rules(use.shape, [same.name], [same.shape], hints, is_kernel(same, use))))
    return found


def aligned(sources: Sequence[Use], targets: Sequence[Use]) -> list[tuple[list[Use], list[Use]]]:
    """Neighbours of one list with those of the other, at the least cost."""
    if [use.size for use in sources] == [use.size for use in targets]:
        return [([one], [other]) for one, other in zip(sources, targets, strict=True)]
    n, m = len(sources), len(targets)
    cost = [[0.0] * (m + 1) for _ in range(n + 1)]
    best: list[list[Move]] = [[Move(0, 0)] * (m + 1) for _ in range(n + 1)]
    for i in range(n, -1, -1):
        for j in range(m, -1, -1):
            if (i, j) == (n, m):
                continue
            ways = []
            for price, move in moves(sources[i : i + MOST], targets[j : j + MOST]):
                ways.append((price + cost[i + move.sources][j + move.targets], move))
            cost[i][j], best[i][j] = min(ways, key=lambda one: one[0])
    found, i, j = [], 0, 0
    while (i, j) != (n, m):
        move = best[i][j]
        if move.sources and move.targets:
            found.append(([*sources[i : i + move.sources]], [*targets[j : j + move.targets]]))
        i, j = i + move.sources, j + move.targets
    return found


def moves(sources: Sequence[Use], targets: Sequence[Use]) -> Iterator[tuple[float, Move]]:
    """(cost, move): what may come next."""
    if sources:
        yield ALONE, Move(1, 0)
    if targets:
        yield ALONE, Move(0, 1)
    if not sources or not targets:
        return
    one, other = sources[0].size, targets[0].size
    if one == other:
        yield 0.5 * (1 - likeness(sources[0].name, targets[0].name)), Move(1, 1)
        if recurrent(sources[0]) and len(sources) > 1 and recurrent(sources[1]) and sources[1].size == one:
            yield 0.1, Move(2, 1)
        if recurrent(targets[0]) and len(targets) > 1 and recurrent(targets[1]) and targets[1].size == one:
            yield 0.1, Move(1, 2)
    for k in PARTS:
        if one == k * other and all_of(targets[:k], k, other):
            yield SEVERAL, Move(1, k)
        if other == k * one and all_of(sources[:k], k, one):
            yield SEVERAL, Move(k, 1)
    for h in HEADS:
        for k in KINDS:
            if other == h * one and all_of(sources[: h * k], h * k, one) and all_of(targets[:k], k, other):
                yield SEVERAL * k, Move(h * k, k)
            if one == h * other and all_of(targets[: h * k], h * k, other) and all_of(sources[:k], k, one):
                yield SEVERAL * k, Move(k, h * k)


def all_of(uses: Sequence[Use], count: int, size: int) -> bool:
    """Are there so many, all of that size?"""
    return len(uses) == count and all(use.size == size for use in uses)


def recurrent(use: Use) -> bool:
    """Is it of a recurrent layer of torch, by its name?"""
    return split(use.name)[1].startswith(("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


@lru_cache(maxsize=65536)
def likeness(one: str, other: str) -> float:
    """How alike two names are, of 1."""
    first, second = words(one), words(other)
    both = len(first & second) / max(len(first | second), 1)
    mine, its = place(one), place(other)
    return both / 2 if mine is not None and its is not None and mine != its else 0.5 + both / 2


def words(name: str) -> frozenset[str]:
    """The words of a name, each by one of those that mean the same."""
    parts = re.split(r"[./_ ]", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return frozenset(WORDS.get(part, part) for part in parts[:-1] if part)


def pieces(sources: Sequence[Use], targets: Sequence[Use], hints: Hints, every: Mapping[str, Use]) -> dict[str, Rule]:
    """The rules of a move."""
    found = {}
    n, m = len(sources), len(targets)
    names, shapes = [use.name for use in sources], [use.shape for use in sources]
    for j, target in enumerate(targets):
        kernel = is_kernel(sources[0], target)
        if n == 1 and m == 2 and sources[0].size == target.size:  # the two biases of a recurrent layer
            if j:
                found[target.name] = Rule((), target.shape, join="zeros")
                continue
            options = rules(target.shape, names, shapes, hints, kernel)
        elif n % m == 0:
            mine = range(j, n, m)
            options = rules(target.shape, [names[i] for i in mine], [shapes[i] for i in mine], hints, kernel)
        elif m % n == 0:
            options = parts(target.shape, names[j % n], shapes[j % n], hints, j // n, m // n, kernel)
        else:
            continue
        if (rule := next(iter(options), None)) is None:
            continue
        found[target.name] = turned(rule, sources[0], target, hints, every)
    return found


def turned(rule: Rule, source: Use, target: Use, hints: Hints, every: Mapping[str, Use]) -> Rule:
    """A rule, with the gates of a recurrent layer in the order of the other framework."""
    mine = source if recurrent(source) else target
    if hints.way == 0 or not recurrent(mine):
        return rule
    count = gates(source, every) if mine is source else target.size // max(target.shape[-1], 1)
    hidden = next((use.shape for use in every.values() if use.unit == source.unit and "recurrent" in use.name), None)
    if mine is target and hidden:
        count = max(hidden) // min(hidden)
    return gated(rule, [every[name].shape for name in rule.sources], count, mine is source)


def gates(source: Use, every: Mapping[str, Use]) -> int:
    """How many gates a recurrent layer of torch has."""
    shape = next((use.shape for use in every.values() if use.unit == source.unit and "weight_hh" in use.name), (1, 1))
    return shape[0] // shape[1]


def is_kernel(source: Use, target: Use) -> bool:
    """May its axes be turned from one framework to the other? Those of a table or of a bias may not."""
    leaves = split(source.name)[1], split(target.name)[1]
    plain = "weight" in leaves[0] + leaves[1] or "kernel" in leaves[0] + leaves[1]
    return source.role == target.role == "kernel" and plain and not source.table
