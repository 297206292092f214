"""What came of holding a layer to a block: it agrees, or place, line and reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from attn_ref.block import Block
from attn_ref.check.numbers import short
from attn_ref.trace.reason import Reason
from attn_ref.trace.record import Line


@dataclass(frozen=True)
class Place:
    """Where the layer parts from the block: the first tap that nobody computed, the line, and the reason."""

    tap: str
    line: Line | None
    operation: str
    reason: Reason | None

    def told(self) -> Iterator[str]:
        """In words, a line each."""
        yield f"differs first at {self.tap}"
        if self.line:
            yield f"line    {self.line.short}"
            yield f"        {self.line.code}"
        elif self.operation:
            yield f"step    {self.operation}"
        if self.reason:
            yield f"reason  {self.reason.says}"
            yield f"fix     {self.reason.fix}"
        else:
            yield "reason  none of those that are known gives the layer's numbers"


@dataclass
class Verdict:
    """What came of it."""

    block: Block
    ok: bool = False
    places: list[Place] = field(default_factory=list)
    #: cases that agree, and how many of the block's taps the layer has
    cases: int = 0
    taps: tuple[int, int] = (0, 0)
    #: the worst of them in units of what rounding explains; None where the weights are not the layer's own numbers
    worst: float | None = None
    #: parameters and inputs whose gradients are those of the output; None where they were not compared
    gradients: int | None = None
    #: parameter of the block -> what it is of the layer's
    wiring: dict[str, str] = field(default_factory=dict)
    call: str = ""
    #: tap of the block -> the line that computes it, "" where that has none; None where the layer has not the tap
    steps: dict[str, str | None] = field(default_factory=dict)
    #: the inputs of the first case, and the call that gives them to the layer
    given: dict[str, Any] = field(default_factory=dict)
    making: Any = None
    #: what the layer's further arguments mean, a sentence each
    masks: list[str] = field(default_factory=list)
    #: what else is to be said
    notes: list[str] = field(default_factory=list)
    #: the case that differs, if not the first
    case: str = ""

    @property
    def first(self) -> str | None:
        """The first tap that nobody computed."""
        return self.places[0].tap if self.places else None

    @property
    def line(self) -> str | None:
        """``file:line`` of what was computed in its stead."""
        return str(self.places[0].line) if self.places and self.places[0].line else None

    @property
    def trap(self) -> str | None:
        """The name of the reason."""
        return self.places[0].reason.name if self.places and self.places[0].reason else None

    @property
    def spec(self) -> dict[str, Any]:
        """What was decided, to be kept with a test."""
        return {**self.block.as_data(), "call": self.call, "masks": self.masks, "wiring": self.wiring}

    def brief(self) -> str:
        """In one line: how many cases agree, or the first place with its line and its reason."""
        if self.ok:
            return f"agrees with {type(self.block).__name__}: {self.cases} cases"
        if not self.places:
            return f"is not {self.block}"
        first = self.places[0]
        line = f", {first.line.short}" if first.line else ""
        reason = f": {first.reason.says}" if first.reason else ""
        return f"differs first at {first.tap}{line}{reason}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        places = [
            {"tap": p.tap, "file": p.line.file if p.line else None, "line": p.line.number if p.line else None,
             "code": p.line.code if p.line else None, "operation": p.operation,
             "reason": p.reason.name if p.reason else None, "says": p.reason.says if p.reason else None,
             "fix": p.reason.fix if p.reason else None}
            for p in self.places
        ]  # fmt: skip
        met, of = self.taps
        told = {
            "ok": self.ok,
            "cases": self.cases,
            "taps": met,
            "of": of,
            "worst": self.worst,
            "gradients": self.gradients,
            "places": places,
        }
        return {**told, "notes": self.notes, "case": self.case, **self.spec}

    def __str__(self) -> str:
        met, of = self.taps
        if self.ok:
            worst = "" if self.worst is None else f", at most {short(self.worst)} σ off"
            lines = [f"agrees with {self.block}: {self.cases} cases{worst}; {met} of its {of} taps are in it"]
            if self.gradients:
                lines[0] += f"; the gradients of {self.gradients} parameters and inputs are right"
        else:
            lines = [f"is not {self.block}"]
        for n, place in enumerate(self.places):
            first, *others = place.told()
            lines += [first.replace("differs first", "then differs") if n else first, *[f"  {x}" for x in others]]
        lines += [f"case    {self.case}"] if self.case else []
        lines += [f"called  {self.call}"] if self.call else []
        lines += [f"takes   {said}" for said in self.masks]
        lines += [f"note    {note}" for note in self.notes]
        width = max((len(name) for name in self.wiring), default=0)
        lines += ["weights"] * bool(self.wiring) + [f"  {name:{width}}  {x}" for name, x in self.wiring.items()]
        return "\n".join(lines)
