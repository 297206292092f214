"""A report as one HTML page: nothing is loaded from anywhere, and it follows the reader's light or dark."""

from __future__ import annotations

import json
from html import escape
from math import log2
from string import Template

from attn_ref.check.gaps import grants
from attn_ref.check.report import Report, Row

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>attn-ref check: $verdict</title>
<style>
:root { color-scheme: light dark; --good: light-dark(#1a7f37, #56d364); --bad: light-dark(#b42318, #ff7b72);
  --line: light-dark(#d0d7de, #3d444d); --bar: light-dark(#0969da, #4493f8); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
td.number { text-align: right; }
.good { color: var(--good); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
svg { display: block; } svg rect { fill: var(--bar); } svg line { stroke: var(--bad); }
</style>
</head>
<body>
<h1>attn-ref check: <span class="$tone">$verdict</span></h1>
<p>$summary</p>
<div class="scroll"><table>
<thead><tr><th>block<th>engine<th>mode<th>dtype<th>cases<th>worst error/σ<th>at tap<th>all cases, 2⁻⁶ to 2⁵<th>verdict
</thead>
<tbody>
$rows
</tbody>
</table></div>
<p>Bars count cases by their worst error/σ; the red line is C, within which a case agrees:
|error| ≤ C·(σ + u·max|y|), $limits.</p>
$differences
$gaps
<h2>Environment</h2>
<pre>$environment</pre>
</body>
</html>
""")
#: the picture of a distribution: log2 of its ends, and its size in pixels
LOW, HIGH, WIDTH, HEIGHT = -6, 5, 176, 28


def html(report: Report) -> str:
    """The page."""
    cases, bad = sum(row.cases for row in report.rows), sum(row.failures for row in report.rows)
    absent = sum(1 for row in report.rows if row.skipped)
    gaps = "".join(
        f"<li><b>{escape(gap['id'])}</b>: {escape(gap['op'])} in {escape(gap['dtype'])} on {escape(gap['engine'])} "
        f"{escape(grants(gap))} ({escape(gap['package'])} {escape(gap['versions'])}): "
        f"{escape(gap['reason'])} [{escape(gap['upstream'])}]</li>"
        for gap in report.gaps
    )
    differences = "".join(
        f"<h2 class='bad'>{escape(f'{row.block} on {row.engine}, {row.mode}, {row.dtype}')}</h2><p>first differs at "
        f"<b>{escape(str(row.first_divergence))}</b>: {escape(row.detail)}</p><pre>{escape(str(row.case))}</pre>"
        for row in report.rows
        if not row.ok
    )
    return PAGE.substitute(
        verdict=report.verdict,
        tone="good" if report.ok else "bad",
        summary=f"{cases} cases, {bad} differ"
        + (f"; {absent} rows have no mirror" if absent else "")
        + (f"; {report.partial}" if report.partial else ""),
        rows="\n".join(_row(row, report.limits[row.dtype]) for row in report.rows),
        limits=escape(", ".join(f"C = {c:g} in {dtype}" for dtype, c in report.limits.items())),
        differences=differences,
        gaps=f"<h2>Known gaps of the engines, in force above</h2><ul>{gaps}</ul>" if gaps else "",
        environment=escape(json.dumps(report.environment, indent=2, ensure_ascii=False, default=str)),
    )


def _row(row: Row, limit: float) -> str:
    verdict = f"<span class='{'good' if row.ok else 'bad'}'>{'agree' if row.ok else f'DIFFER in {row.failures}'}</span>"
    verdict += f" ({escape(', '.join(row.known_gaps))})" if row.known_gaps else ""
    if row.skipped:
        verdict = f"skipped: {escape(row.note)}"
    elif row.not_run:
        verdict = (f"{verdict}; " if row.cases else "") + escape(f"{row.not_run} not run {row.note}".rstrip())
    texts = "".join(f"<td>{escape(text)}" for text in (row.block, row.engine, row.mode, row.dtype))
    worst = f"{row.worst:.2f}" if row.cases else "–"
    numbers = f"<td class='number'>{row.cases}<td class='number'>{worst}"
    return f"<tr>{texts}{numbers}<td>{escape(row.worst_at)}<td>{_bars(row.distribution, limit)}<td>{verdict}"


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
    from attn_ref.port.files import write_text

    write_text(target, html(report))
