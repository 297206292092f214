"""Which values of two runs are the same, what is left, and which parameters are behind it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

from attn_ref.live.ends import Run
from attn_ref.trace.flow import KNOWN
from attn_ref.trace.match import loosely
from attn_ref.trace.meet import Parting, Value, cleared, met, part
from attn_ref.verbs.together import off

#: parameters that are looked for behind a value that comes of none itself
NEAR = 4


@dataclass
class Seen:
    """Source and target that ran on the same."""

    source: Run
    target: Run

    @property
    def close(self) -> AbstractContextManager[None]:
        """While it lasts, values are compared as loosely as they were computed."""
        return loosely() if self.source.trace.narrow or self.target.trace.narrow else nullcontext()

    @cached_property
    def agree(self) -> bool:
        """Do they give the same?"""
        with self.close:
            return off(self.source.outputs, self.target.outputs) is not None

    @cached_property
    def found(self) -> tuple[list[tuple[Value, Value]], list[tuple[Value, Value]]]:
        """The values of each that the other has, with those that they are."""
        with self.close:
            return met(self.source.side, self.target.side), met(self.target.side, self.source.side)

    @cached_property
    def has(self) -> tuple[set[float], set[float]]:
        """The numbers of the records of each that the other has, and that come of the input.

        Both have the same parameters, wherever these are taken: that says nothing.
        """
        first, second = self.found
        with self.close:
            mine, its = cleared(first, second), cleared(second, first)
        return mine & self.source.side.of_input, its & self.target.side.of_input

    @cached_property
    def score(self) -> int:
        """How many values of the target that matter the source has, the output above all."""
        side = self.target.side
        return len(self.has[1] & side.to_output) + 1_000_000 * self.agree

    @cached_property
    def parting(self) -> Parting:
        """Where they part."""
        with self.close:
            return part(self.source.side, self.target.side)

    def before(self) -> list[str]:
        """Parameters of the target behind the right values of which the first wrong ones are made."""
        run, has = self.target, self.has[True]
        found: list[str] = []
        for one, _ in self.frontier(True):
            walked = unmet(run, one.record.number, has)
            right = {parent for number in walked for parent in run.parents.get(number, ()) if parent in has}
            found += [name for number in sorted(right) for name in named(run, unmet(run, number, has))]
        return list(dict.fromkeys(found))

    def frontier(self, of_target: bool) -> list[tuple[Value, list[str]]]:
        """The first values of one that the other has not, and the parameters behind each."""
        return frontier(self.target if of_target else self.source, self.has[of_target])


def frontier(run: Run, has: Collection[float]) -> list[tuple[Value, list[str]]]:
    """The first values that matter and are not had, nor anything that came of them; the parameters behind each."""
    side = run.side
    before = side.above(set(has))
    wanted = side.to_output & side.of_input
    failing = [one for one in side.values if one.record.number in wanted and one.record.number not in before]
    numbers = {one.record.number for one in failing}
    found = []
    for one in failing:
        behind = unmet(run, one.record.number, has)
        if behind & numbers != {one.record.number}:
            continue
        names = named(run, behind) or below(run, one.record.number, has)
        found.append((one, names))
    return found


def unmet(run: Run, number: float, has: Collection[float]) -> set[float]:
    """A record, and what it came of as far as nothing is had; parameters among it."""
    found, queue = {number}, [number]
    while queue:
        for one in run.parents.get(queue.pop(), ()):
            if one not in found and one not in has:
                found.add(one)
                queue.append(one)
    return found


def named(run: Run, numbers: Collection[float]) -> list[str]:
    """The parameters among these."""
    return [name for number in sorted(numbers, reverse=True) if number <= KNOWN and (name := run.name(number))]


def below(run: Run, number: float, has: Collection[float]) -> list[str]:
    """The first few parameters that go into what comes of a record."""
    found: list[str] = []
    queue, seen = [number], {number}
    while queue and len(found) < NEAR:
        at = queue.pop(0)
        names = named(run, unmet(run, at, has))
        found += [name for name in names if name not in found]
        for child in run.children.get(at, ()):
            if child not in seen and child not in has:
                seen.add(child)
                queue.append(child)
    return found[:NEAR]
