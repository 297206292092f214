"""A difference in words, for the terminal and for the page: where, how far, in which case, and how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from attn_ref.catalogue import block as find_block
from attn_ref.check.cases import Case
from attn_ref.check.judge import FAULTS
from attn_ref.check.numbers import short

if TYPE_CHECKING:
    from attn_ref.check.report import Report

#: of the taps before the first that differs, and of those after it, so many are shown in a report
BEFORE, AFTER = 8, 3


@dataclass(frozen=True)
class Line:
    """A line of the table of taps; one without figures says what is left out."""

    tap: str
    error: str = ""
    unit: str = ""
    ratio: str = ""
    #: "before" the first that differs, "first", "after" it and within the limit, or "wrong": after it and beyond
    place: str = "before"


def sentence(tap: str | None, fault: str, detail: str) -> str:
    """What differs, as one would say it.

    >>> sentence("attention.scores", "value", "0.95 off where rounding explains 2e-15")
    'differs first at attention.scores: 0.95 off where rounding explains 2e-15'
    >>> sentence(None, "raised", "RuntimeError: no")
    'it raised an error: RuntimeError: no'
    >>> sentence(None, "ended", "its process ended with exit code 3 in the middle of a case")
    'its process ended with exit code 3 in the middle of a case'
    """
    if not tap and detail.startswith(("it ", "its ")):  # whoever watches a process tells it whole
        return detail
    lead = f"differs first at {tap}" if tap else FAULTS.get(fault, "differs")
    return f"{lead}: {detail}" if detail else lead


def taps(rows: Sequence[Mapping[str, Any]], *, whole: bool = False) -> list[Line]:
    """The table of taps; unless ``whole`` with those far from the first that differs summed up."""
    first = next((n for n, row in enumerate(rows) if not row["ok"]), None)
    lines = [_line(n, row, first) for n, row in enumerate(rows)]
    if whole or first is None:
        return lines
    before, after = lines[:first], lines[first + 1 :]
    if (gone := len(before) - BEFORE) > 1:
        before = [Line(f"… {gone} more agree"), *before[gone:]]
    if (gone := len(after) - AFTER) > 1:
        wrong = sum(line.place == "wrong" for line in after[AFTER:])
        said = "agree" if not wrong else "differ" if wrong == gone else f"of which {wrong} differ"
        said = f"… {gone} more {said}"
        after = [*after[:AFTER], Line(said, place="after")]
    return [*before, lines[first], *after]


def _line(n: int, row: Mapping[str, Any], first: int | None) -> Line:
    place = "before"
    if first is not None and n >= first:
        place = "first" if n == first else "after" if row["ok"] else "wrong"
    unit = float(row["unit"])
    # a tap without values has nothing that rounding could move
    return Line(row["tap"], short(float(row["error"])), "–" if unit == float("inf") else short(unit),
                short(float(row["ratio"])), place)  # fmt: skip


def readable(text: str) -> list[str]:
    """A case in a few lines: the block with what is not its default, then the inputs."""
    try:
        case = Case.from_json(text)
        title = str(case.build())
    except ValueError:  # it is of a block that is not here
        return [text]
    seed = f"seed {case.seed}" + (", so that inputs lie in reversed order in memory" if case.seed % 2 else "")
    inputs = [f"{name} {_shape(shape)}, {case.styles.get(name, 'plain')}" for name, shape in case.shapes.items()]
    return [title, *inputs, seed]


def _shape(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def chosen(case: Case) -> dict[str, Any]:
    """The options that are not left at their defaults."""
    return shortened(case.block, case.fields)


def shortened(block: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a block and of those among its options."""
    defaults: dict[str, Any] = {field.name: field.default for field in fields(find_block(block))}
    return {
        name: {"block": x["block"], "fields": shortened(x["block"], x["fields"])} if isinstance(x, dict) else x
        for name, x in told.items()
        if name not in defaults or defaults[name] is MISSING or x != defaults[name]
    }


def command(text: str, engine: str, dtype: str, mode: str) -> str:
    """What runs a case again, on one line, quoted for a shell; options at their defaults are left out."""
    try:
        case = Case.from_json(text)
        text = replace(case, fields=chosen(case)).to_json()
    except ValueError:  # it is of a block that is not here
        pass
    return shlex.join(["attn-ref", "reproduce", text, "--engine", engine, "--dtype", dtype, "--mode", mode])


def legend(report: Report) -> str:
    """What the columns of figures mean."""
    tap = "the one with the largest error/σ" + ("" if report.ok else "; of a row that differs, the first that does")
    return f"{sigma(report.limits)} Tap: {tap}."


def sigma(limits: Mapping[str, float]) -> str:
    """What σ is, and how many are allowed."""
    allowed: dict[float, list[str]] = {}
    for dtype, limit in limits.items():
        allowed.setdefault(limit, []).append(dtype)
    agree = ", ".join(f"{limit:g} σ agrees in {' and '.join(dtypes)}" for limit, dtypes in allowed.items())
    return (
        "σ: how far rounding alone moves the value there, found by running the definition again with every step moved "
        f"by one rounding. An error up to {agree} (docs/tolerance.md)."
    )
