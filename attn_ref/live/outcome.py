"""What came of a transfer: the plan and its proof, or where the two models part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn_ref.check.numbers import short
from attn_ref.live.causes import cause
from attn_ref.live.plan import Plan
from attn_ref.verbs.apart import between
from attn_ref.verbs.verdict import Place

if TYPE_CHECKING:
    from attn_ref.live.search import Rules, Search
    from attn_ref.live.seen import Seen


@dataclass
class Transfer:
    """A transfer that was proven."""

    plan: Plan
    #: was the target given the numbers?
    written: bool = False
    #: values of the target that come of the input and that the source has, with the real numbers
    values: int = 0
    #: how far one of them is apart at most, of its largest number, and how far it may be
    worst: float = 0.0
    tolerance: float = 0.0
    #: further inputs on which both agree, and runs that it took
    cases: int = 0
    runs: int = 0
    #: how each was called, in words, if not as the example is
    calls: tuple[str, str] = ("", "")
    #: parameters whose numbers the target's dtype rounds
    rounded: list[str] = field(default_factory=list)
    ok: bool = True

    @property
    def units(self) -> float:
        """The worst error in units of what is allowed."""
        return self.worst / self.tolerance if self.tolerance else 0.0

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        self.plan.save(path)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "ok": True, "written": self.written, "values": self.values, "worst": self.worst,
            "tolerance": self.tolerance, "units": self.units, "cases": self.cases, "runs": self.runs,
            "calls": self.calls, "rounded": self.rounded, **self.plan.data(),
        }  # fmt: skip

    def told(self) -> Iterator[str]:
        """In words, a line each."""
        count = len(self.plan)
        done = f"transferred {count} parameters" if self.written else f"{count} parameters fit; nothing was written"
        yield (
            f"{done}: {self.values} values agree, the worst {short(self.worst)} of its largest number apart, "
            f"which is {short(self.units)} of what is allowed"
        )
        for role, said in zip(("source", "target"), self.calls, strict=True):
            yield from [f"the {role} is called {said}"] if said else []
        if believed := [entry.target for entry in self.plan if " alone: " in entry.proven]:
            yield f"believed, not proven, since no value of the example tells: {', '.join(believed)}"
        if self.plan.open:
            yield f"open: {', '.join(self.plan.open)}"
        if self.rounded:
            yield f"rounded by the target's dtype: {', '.join(self.rounded)}"

    def __str__(self) -> str:
        return "\n".join([str(self.plan), "", *self.told()])


class Differs(ValueError):
    """The two compute something else: where, in either."""

    def __init__(self, search: Search, chosen: Rules, seen: Seen, case: str = "") -> None:
        at = seen.parting
        with seen.close:
            self.places, self.says = between(at, seen.source.side, seen.target.side)
        self.says = self.says.replace("a has", "the source has").replace("what b has", "what the target has")
        self.says = self.says.replace(" b has", " the target has")
        self.layers = tuple(
            run.layer(value.record.number) if value else ""
            for run, value in zip((seen.source, seen.target), (at.a, at.b), strict=True)
        )
        self.case, self.calls = case, (search.source.said, search.target.said)
        self.seen = len(seen.has[1] & seen.target.side.of_input)
        self.missing = [name for name in search.targets if name not in chosen]
        taken = {name for rule in chosen.values() for name in rule.sources}
        self.surplus = [use.name for use in search.sources.values() if use.first is not None and use.name not in taken]
        self.cause = cause(search, chosen, seen, (str(self.layers[0]), str(self.layers[1])))
        super().__init__("\n".join(self.told()))

    @property
    def lines(self) -> tuple[str | None, str | None]:
        """``file:line`` in the source, and in the target."""
        first, second = (str(p.line) if p and p.line else None for p in self.places)
        return first, second

    def told(self) -> Iterator[str]:
        """In words, a line each."""
        yield "the models differ, so nothing was written"
        for role, place, layer in zip(("target", "source"), self.places[::-1], self.layers[::-1], strict=True):
            yield from told(role, place, str(layer))
        yield from [f"cause   {self.cause}"] if self.cause else []
        yield from [f"says    {self.says}"] if self.says else []
        yield from [f"case    {self.case}"] if self.case else []
        yield f"before  {self.seen} values of the target are the source's"
        for role, said in zip(("source", "target"), self.calls, strict=True):
            yield from [f"called  the {role} {said}"] if said else []
        if self.missing:
            yield f"open    nothing of the source fits {', '.join(self.missing)}"
        if self.surplus:
            yield f"surplus the target takes nothing of the source's {', '.join(self.surplus)}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        lines = self.lines
        return {
            "ok": False, "written": False, "says": self.says, "cause": self.cause, "case": self.case,
            "source": {"line": lines[0], "layer": self.layers[0]},
            "target": {"line": lines[1], "layer": self.layers[1]}, "missing": self.missing,
            "surplus": self.surplus,
        }  # fmt: skip


def told(role: str, place: Place | None, layer: str) -> Iterator[str]:
    """Where one parts from the other, in words."""
    if place is None:
        return
    inside = f"in layer {layer!r}" if layer else ""
    at = f"at {place.line.short}" if place.line else ""
    operation, _, shape = place.operation.partition(" → ")
    yield f"{role}  {' '.join(filter(None, (at, inside))) or 'in a step without a line'}"
    yield from [f"        {place.line.code}"] if place.line else []
    yield f"        {operation.partition(' in layer ')[0]} → {shape}"


class Open(ValueError):
    """Parameters of the target of which nothing says what they are made of."""

    def __init__(self, made: Transfer) -> None:
        self.names = made.plan.open
        names = "\n".join(f"  {entry.target} {entry.shape}" for entry in made.plan if entry.target in self.names)
        super().__init__(
            f"nothing of the example takes these parameters of the target, and no name tells what they are made of:\n"
            f"{names}\nsay it in a plan: plan={{{self.names[0]!r}: 'a name of the source'}}, or None to keep its "
            "numbers; an example that runs them proves it"
        )
