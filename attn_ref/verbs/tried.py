"""Blocks that a layer may be: how far each is, and which options bring it nearer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.faults import faults
from attn_ref.trace.options import changed
from attn_ref.trace.reasons import reason
from attn_ref.trace.search import Search
from attn_ref.verbs.candidates import Sizes, nearby
from attn_ref.verbs.wired import Wired

#: blocks that are looked at closely, options changed one after the other, and runs of each search
CLOSELY, CHANGES, FIRST = 2, 8, 6
#: blocks that are tried with the layer's values in the place of those that differ, of them of one class, and what each
#: such place costs
REPAIRED, OF_CLASS, COST = 20, 4, 0.15


class Tried(Wired):
    """A block that the layer may be, and how far it is; its faults are not looked for."""

    @property
    def block(self) -> Block:
        """The block that is tried."""
        return self.search.block

    def with_block(self, block: Block) -> Tried:
        """Another block, in the same call."""
        search = Search(block, self.search.inputs, self.search.trace, self.search.outputs, like=self.search)
        return Tried(search.best({}, FIRST), [], search, self.said, self.call)

    @property
    def share(self) -> float:
        """How many of the block's taps the layer has, of 1, besides those at which weights were read off."""
        every = len(self.search.expected()) - sum(name.endswith((".kernel", "scale")) for name in self.block.params())
        return max(self.best.evidence, 0) / max(every, 1) if not self.best.ok else 1.0

    @property
    def explained(self) -> float:
        """The share of the numbers of the block's parameters that were read off."""
        return sum(x.size for x in self.best.weights.values()) / max(numbers(self.block), 1)


def closest(tried: Sequence[Tried]) -> list[Tried]:
    """The best of each class, of as many as are looked at closely."""
    best: dict[type, Tried] = {}
    for one in tried:
        best.setdefault(type(one.block), one)
    return list(best.values())[:CLOSELY]


def repaired(tried: Sequence[Tried], tell: Callable[[str], None]) -> list[Tried]:
    """Those that explain most of the layer's numbers, the best first when it goes on from the layer's own values.

    An option that is wrong early hides all that is right behind it.
    """
    worth: list[tuple[float, Tried]] = []
    first: dict[Block, Tried] = {}
    for one in sorted(tried, key=lambda one: (-one.share, -one.explained)):
        if one.block not in first and sum(type(other) is type(one.block) for other in first) < OF_CLASS:
            first[one.block] = one
    for one in list(first.values())[:REPAIRED]:
        tell(f"looking at {one.block}")
        try:
            best, places = faults(one.search)
        except ValueError:  # the inputs do not fit
            continue
        every = max(len(one.search.expected()) - len(best.read), 1)
        worth.append((max(best.evidence, 0) / every + best.ok - COST * len(places), one))
    return [one for _, one in sorted(worth, key=lambda pair: -pair[0])]


def climbed(one: Tried, sizes: Sizes, tell: Callable[[str], None]) -> Tried:
    """The same with options changed, one after the other, as long as the layer has more of the taps."""
    for _ in range(CHANGES):
        if one.best.ok:
            break
        tell(f"trying options of {one.block}")
        if (told := as_told(one)) is not None:
            return told
        better = one
        for block in nearby(one.block, sizes):
            try:
                other = one.with_block(block)
            except Exception:  # its inputs are others
                continue
            if (other.best.ok, other.best.met) > (better.best.ok, better.best.met):
                better = other
            if other.best.ok:
                break
        if better is one:
            break
        one = better
    return one


def as_told(one: Tried) -> Tried | None:
    """The block with the options that the reasons of its differences name, if the layer is that."""
    best, places = faults(one.search)
    block, stand_ins = one.block, dict[str, np.ndarray]()
    for place in places:
        why = reason(one.search, place, stand_ins, best.weights)
        try:
            block = changed(block, why.changes) if why else block
        except ValueError:  # of options that do not go together
            return None
        if place.theirs is not None:
            stand_ins[place.tap] = place.theirs
    if block == one.block:
        return None
    try:
        other = one.with_block(block)
    except Exception:  # its inputs are others
        return None
    return other if other.best.ok else None


def simplest(one: Tried) -> Tried:
    """The same with fewer parameters, where the layer is that as well: a bias that is nothing is none."""
    while True:
        for block in nearby(one.block, Sizes()):
            if numbers(block) < numbers(one.block):
                try:
                    other = one.with_block(block)
                except Exception:  # its inputs are others
                    continue
                if other.best.ok:
                    one = other
                    break
        else:
            return one


def numbers(block: Block) -> int:
    """How many numbers its parameters have."""
    return sum(prod(param.shape) for param in block.params().values())
