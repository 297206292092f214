"""Blocks that a layer may be: how far each is, and which options bring it nearer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.faults import faults
from attn_ref.trace.options import alike, changed, run
from attn_ref.trace.reasons import reason
from attn_ref.trace.search import Search
from attn_ref.verbs.candidates import fits, nearby
from attn_ref.verbs.sizes import Sizes
from attn_ref.verbs.wired import Wired

#: options changed one after the other, and runs of each search
CHANGES, FIRST = 8, 12


@dataclass
class Repaired:
    """A block that goes on from the layer's own values where it differs."""

    #: does it give what the layer does then, and at how many places it differs
    ok: bool
    places: int
    #: the block with the options that the reasons of these name: all of them, then fewer
    told: list[Block]


@dataclass
class Tried(Wired):
    """A block that the layer may be, and how far it is; its faults are not looked for."""

    #: how alike the shapes of parameters and the sizes of values are, of 1
    rank: float = 1.0

    @property
    def block(self) -> Block:
        """The block that is tried."""
        return self.search.block

    def with_block(self, block: Block) -> Tried:
        """Another block, in the same call."""
        search = Search(block, self.search.inputs, self.search.trace, self.search.outputs, like=self.search)
        return Tried(search.best({}, FIRST), [], search, self.said, self.call, self.rank)

    @property
    def share(self) -> float:
        """How many of the block's taps the layer has, of 1, besides those at which weights were read off."""
        every = len(self.search.expected()) - sum(name.endswith((".kernel", "scale")) for name in self.block.params())
        return max(self.best.evidence, 0) / max(every, 1) if not self.best.ok else 1.0

    @cached_property
    def repaired(self) -> Repaired:
        """What is right of the block behind what is wrong: an option that is wrong early hides all that comes after.

        If nothing is wrong after all, ``best`` becomes the run that shows it.
        """
        best, places = faults(self.search)
        if best.ok and not places:
            self.best = best
        block, stand_ins, found = self.block, dict[str, np.ndarray](), list[Block]()
        for place in places:
            why = reason(self.search, place, stand_ins, best.weights)
            with suppress(ValueError):  # of options that do not go together
                if why and (other := changed(block, why.changes)) != block:
                    block = other
                    found.append(block)
            if place.theirs is not None:
                stand_ins[place.tap] = place.theirs
        return Repaired(best.ok, len(places), found[::-1])


def climbed(one: Tried, sizes: Sizes, tell: Callable[[str], None]) -> Tried:
    """The same with options changed, one after the other, as long as the layer has more of the taps."""
    known: set[Block] = {one.block}
    for _ in range(CHANGES):
        if one.best.ok:
            break
        tell(f"trying options of {one.block}")
        told = one.repaired.told
        better = one
        if one.best.ok:
            break
        for block in [*told, *(b for b in nearby(one.block, sizes) if b not in told)]:
            if block in known or not (block in told or may_help(one, block)):
                continue
            known.add(block)
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


def may_help(one: Tried, block: Block) -> bool:
    """Has a block another value at the first tap that the layer has not, or is there no such tap?"""
    tap = one.search.first(one.best, {})
    if tap is None or block.params().keys() != one.block.params().keys():
        return True
    try:
        taps = run(block, one.best.weights, one.search.inputs, {})
    except Exception:  # its weights are of other shapes
        return True
    return tap not in taps or not alike(taps[tap].value, one.best.values[tap].value)


def as_held(one: Tried, sizes: Sizes) -> Tried:
    """The same function in the layer's own arrays: with a part for which it holds some, without any other.

    Behind a norm, a kernel of other numbers can do without a bias; the bias stays where the layer has it.
    """
    for _ in range(CHANGES):
        now, count = fits(one.block, sizes), len(one.block.params())
        for block in nearby(one.block, Sizes()):
            at = fits(block, sizes)
            if at > now + 1e-9 or (at >= now and len(block.params()) < count):
                try:
                    other = one.with_block(block)
                except Exception:  # its inputs are others
                    continue
                if other.best.ok:
                    one = other
                    break
        else:
            break
    return one
