"""A report as one HTML page: nothing is loaded from anywhere, and it follows the reader's light or dark.

The page is put together from the files in ``templates``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from math import log2
from pathlib import Path
from string import Template
from typing import Any

from attn_ref.check import told
from attn_ref.check.gaps import grants
from attn_ref.check.report import Report, Row
from attn_ref.check.terminal import cells, tone

TEMPLATES = Path(__file__).with_name("templates")
#: the picture of a distribution: log2 of its ends, and its size in pixels
LOW, HIGH, WIDTH, HEIGHT = -6, 5, 176, 28


@cache
def template(name: str) -> Template:
    """One of the files."""
    return Template((TEMPLATES / name).read_text("utf-8").rstrip())


def html(report: Report) -> str:
    """The page."""
    cases, bad = sum(row.cases for row in report.rows), sum(row.failures for row in report.rows)
    absent = sum(1 for row in report.rows if row.skipped)
    return template("page.html").substitute(
        style=template("style.css").template,
        verdict=report.verdict,
        tone="good" if report.ok else "bad",
        summary=f"{cases} cases, {bad} differ"
        + (f"; {absent} rows have no mirror" if absent else "")
        + (f"; {escape(report.partial)}" if report.partial else ""),
        rows="\n".join(_row(n, row, report) for n, row in enumerate(report.rows)),
        legend=escape(told.legend(report)),
        limits=escape(", ".join(f"C = {c:g} in {dtype}" for dtype, c in report.limits.items())),
        failures="\n".join(_failure(n, row) for n, row in enumerate(report.rows) if not row.ok),
        gaps=_gaps(report.gaps) if report.gaps else "",
        environment=escape(json.dumps(report.environment, indent=2, ensure_ascii=False, default=str)),
    )


def _row(n: int, row: Row, report: Report) -> str:
    told_of = {name: escape(text) for name, text in cells(row).items()}
    told_of["tap"] = _tap(told_of["tap"])
    kind = {"red": "bad", "yellow": "odd", "green": "good"}[tone(row)]
    verdict = f"<span class='{kind}'>{told_of['verdict']}</span>"
    if not row.ok:
        verdict = f"<span class='bad'><a href='#case-{n}'>{told_of['verdict']}</a></span>"
    if row.not_run and row.note:
        verdict += f": {escape(row.note)}"
    if row.known_gaps:
        listed = {gap["id"] for gap in report.gaps}
        links = (f"<a href='#{escape(g)}'>{escape(g)}</a>" if g in listed else escape(g) for g in row.known_gaps)
        verdict += f" ({', '.join(links)})"
    cell = {**told_of, "all cases": _bars(row.distribution, report.limits[row.dtype]), "verdict": verdict}
    kinds = {"cases": " class='number'", "error/σ": " class='number'", "tap": " class='tap'"}
    names = ("block", "engine", "mode", "dtype", "cases", "error/σ", "tap", "all cases", "verdict")
    made = "".join(f"<td{kinds.get(name, '')} data-name='{name}'>{_whole(cell[name])}</td>" for name in names)
    return f"<tr id='row-{n}'>{made}</tr>"


def _whole(inner: str) -> str:
    """As one thing, where a narrow page lays a cell out as a name and a value."""
    return f"<span>{inner}</span>"


def _tap(name: str) -> str:
    """A tap's name, which may be folded at its dots."""
    return name.replace(".", ".<wbr>")


def _failure(n: int, row: Row) -> str:
    sentence = escape(told.sentence(row.first_divergence, row.fault, row.detail))
    if row.first_divergence:
        tap = escape(row.first_divergence)
        sentence = sentence.replace(tap, f"<b>{tap}</b>", 1)
    return template("failure.html").substitute(
        n=n,
        title=escape(f"{row.block} on {row.engine}, {row.mode}, {row.dtype}: {row.failures} of {row.cases} differ"),
        sentence=sentence,
        taps=_taps(told.taps(row.taps)) if row.taps else "",
        shrunk=escape(row.shrunk),
        case="".join(f"<li>{escape(line)}</li>" for line in told.readable(str(row.case))),
        command=escape(told.command(str(row.case), row.engine, row.dtype, row.mode)),
    )


def _taps(lines: Iterable[told.Line]) -> str:
    return template("taps.html").substitute(
        lines="\n".join(
            f"<tr class='{line.place}'><td>{_tap(escape(line.tap))}"
            + "".join(f"<td class='number'>{escape(text)}" for text in (line.error, line.unit, line.ratio))
            for line in lines
        )
    )


def _gaps(gaps: Iterable[Mapping[str, Any]]) -> str:
    return template("gaps.html").substitute(
        gaps="\n".join(
            f"<dt id='{escape(gap['id'])}'>{escape(gap['id'])}</dt>"
            f"<dd>{escape(gap['op'])} in {escape(gap['dtype'])} on {escape(gap['engine'])} {escape(grants(gap))} "
            f"({escape(gap['package'])} {escape(gap['versions'])}): {escape(gap['reason'])} "
            f"[{escape(gap['upstream'])}]</dd>"
            for gap in gaps
        )
    )


def _bars(spread: dict[str, int], limit: float) -> str:
    def place(value: float) -> float:
        position = LOW if value == 0 else min(log2(value), HIGH) if value != float("inf") else HIGH
        return (max(position, LOW) - LOW) / (HIGH - LOW) * (WIDTH - 4)

    most = max(spread.values(), default=1)
    bars = "".join(
        f"<rect x='{place(float(name)):.0f}' y='{HEIGHT * (1 - times / most):.1f}' width='3' "
        f"height='{HEIGHT * times / most:.1f}'><title>≤ {escape(name)}: {times}</title></rect>"
        for name, times in spread.items()
    )
    line = f"<line x1='{place(limit):.0f}' x2='{place(limit):.0f}' y1='0' y2='{HEIGHT}'/>"
    return f"<svg width='{WIDTH}' height='{HEIGHT}' role='img' aria-label='distribution'>{bars}{line}</svg>"


def write_html(report: Report, target: str) -> None:
    """Write the page to the file ``target``, beside it first, then renamed."""
    from attn_ref.places import write_text

    write_text(target, html(report))
