"""What came of comparing two layers: they compute the same, or the two lines at which they part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from attn_ref.check.numbers import short
from attn_ref.trace.record import Line
from attn_ref.verbs.verdict import Place, Verdict


@dataclass(frozen=True)
class Row:
    """A tap of the block in both layers: the line that computes it, "" where it has none, None where it is not met."""

    tap: str
    a: str | None
    b: str | None


@dataclass
class Comparison:
    """What came of it."""

    #: the two, by name
    names: tuple[str, str]
    ok: bool = False
    #: where either computes the first value that the other never has
    places: tuple[Place | None, Place | None] = (None, None)
    #: how the two values differ, in words
    says: str = ""
    #: cases that agree, and the largest difference in them, of the largest value
    cases: int = 0
    worst: float = 0.0
    #: how each is called, and input -> its shape in the first case
    calls: tuple[str, str] = ("", "")
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    #: parameters that are the same numbers, in words
    weights: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: the case that differs, if not the first
    case: str = ""
    #: what each is to the block, where one was named, and its taps in both
    verdicts: tuple[Verdict, Verdict] | None = None
    taps: list[Row] = field(default_factory=list)

    @property
    def lines(self) -> tuple[str | None, str | None]:
        """``file:line`` in a, and in b."""
        first, second = (str(p.line) if p and p.line else None for p in self.places)
        return first, second

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        told = {name: place_data(place) for name, place in zip("ab", self.places, strict=True)}
        return {
            "ok": self.ok, "names": self.names, **told, "says": self.says, "cases": self.cases, "worst": self.worst,
            "calls": self.calls, "inputs": self.inputs, "weights": self.weights, "notes": self.notes,
            "case": self.case, "verdicts": [v.to_json() for v in self.verdicts] if self.verdicts else None,
            "taps": [vars(row) for row in self.taps],
        }  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(self.told())

    def told(self) -> Iterator[str]:
        """In words, a line each."""
        a, b = self.names
        if self.ok and self.cases:
            yield f"{a} and {b} agree: {self.cases} cases, {short(self.worst)} of the largest value apart at most"
        elif self.ok:
            yield f"{a} and {b} compute the same function, each of its own weights"
        else:
            yield f"{a} and {b} differ"
        for name, place in zip("ab", self.places, strict=True):
            yield from place_told(name, place)
        yield from [f"says    {self.says}"] if self.says else []
        yield from [f"case    {self.case}"] if self.case else []
        yield from (f"called  {name}: {said}" for name, said in zip("ab", self.calls, strict=True) if said)
        yield from [f"inputs  {', '.join(f'{n} {s}' for n, s in self.inputs.items())}"] if self.inputs else []
        yield from (f"note    {note}" for note in self.notes)
        yield from ["weights"] * bool(self.weights)
        width = max((len(name) for name, _ in self.weights), default=0)
        yield from (f"  {name:{width}} = {said}" for name, said in self.weights)
        yield from self.taps_told()
        for name, verdict in zip("ab", self.verdicts or (), strict=False):
            first, *rest = str(verdict).split("\n")
            yield f"{name} {first}"
            yield from (f"  {line}" for line in rest)

    def taps_told(self) -> Iterator[str]:
        """The table of the block's taps."""
        if not self.taps:
            return
        cells = [("tap", "a", "b"), *((row.tap, shown(row.a), shown(row.b)) for row in self.taps)]
        widths = [max(len(cell[i]) for cell in cells) for i in range(3)]
        for cell in cells:
            yield "  ".join(x.ljust(n) for x, n in zip(cell, widths, strict=True)).rstrip()


def shown(said: str | None) -> str:
    """A cell of the table."""
    return "not met" if said is None else said or "met"


def place_told(name: str, place: Place | None) -> Iterator[str]:
    """Where a layer parts from the other, in words."""
    if place is None:
        return
    at = f" ({place.tap})" if place.tap else ""
    if place.line:
        yield f"{name} parts at {place.line.short}{at}"
        yield f"        {place.line.code}"
    yield f"        {place.operation}" if place.line else f"{name} parts at {place.operation}{at}"


def place_data(place: Place | None) -> dict[str, Any] | None:
    """The same as plain data."""
    if place is None:
        return None
    line: Line | None = place.line
    return {
        "file": line.file if line else None, "line": line.number if line else None,
        "code": line.code if line else None, "operation": place.operation, "tap": place.tap,
    }  # fmt: skip
