"""A report on a terminal of any width, or as plain text that is neither cut nor folded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from attn_ref.check import told
from attn_ref.check.gaps import grants
from attn_ref.check.numbers import short

if TYPE_CHECKING:
    from attn_ref.check.report import Report, Row

#: the width of what is no terminal
UNFOLDED = 100_000
#: what may be said once above the table where it is the same in all rows
SHARED = ("mode", "dtype", "cases")
COLUMNS = ("block", "engine", *SHARED, "pairs", "error/σ", "tap", "verdict", "known gaps")
#: columns of figures
RIGHT = ("cases", "pairs", "error/σ", "error", "σ")
STYLES = {"before": "", "first": "red bold", "after": "dim", "wrong": "dim red"}


def print_report(report: Report, console: Any) -> None:
    """The table, what differs, the known gaps, the environment and the verdict."""
    from rich.text import Text

    print_rows(report, console)
    for row in report.rows:
        if not row.ok:
            print_failure(row, console)
    for note in dict.fromkeys(row.note for row in report.rows if row.not_run and row.note):
        lost = [row.not_run for row in report.rows if row.not_run and row.note == note]
        console.print()
        put(Text(f"{sum(lost)} cases in {len(lost)} rows: {note}"), console)
    if report.gaps:
        print_gaps(report.gaps, console)
    seen = {name: v for name, v in report.environment["versions"].items() if v}
    versions = ", ".join(
        f"{name} {version}" for name, version in {"python": report.environment["python"], **seen}.items()
    )
    machine = f"{report.environment['processor']}, {report.environment['cores']} cores"
    console.print()
    put(Text(f"{versions}; {machine}", "dim"), console)
    cases, bad = sum(r.cases for r in report.rows), sum(r.failures for r in report.rows)
    absent = sum(1 for r in report.rows if r.skipped)
    verdict = f"[{'green' if report.ok else 'red'} bold]{report.verdict}[/]"
    missing = f" [yellow]({absent} rows have no mirror)[/]" if absent else ""
    missing += f" [yellow]({report.partial})[/]" if report.partial else ""
    console.print(f"{cases} cases, {bad} differ: {verdict}{missing}")


# the table of rows ----------------------------------------------------------------------------------------------------


def cells(row: Row) -> dict[str, str]:
    """What the columns say of a row; the tap is where it differs first or, where all agree, where the worst is."""
    verdict = "agree" if row.ok else f"DIFFER in {row.failures}"
    tap = row.worst_at if row.ok else row.first_divergence or f"({row.fault})"
    if row.skipped:
        verdict, tap = f"skipped: {row.note}", ""
    elif row.not_run:
        verdict = (f"{verdict}; " if row.cases else "") + f"{row.not_run} not run"
    return {
        "block": row.block, "engine": row.engine, "mode": row.mode, "dtype": row.dtype, "cases": str(row.cases),
        "pairs": share(row.pairs), "error/σ": short(row.worst) if row.cases else "–",
        "tap": tap.replace(", so in the fused path only", ""),
        "verdict": verdict, "known gaps": ", ".join(row.known_gaps),
    }  # fmt: skip


def share(pairs: tuple[int, int]) -> str:
    """How many of the pairs that can occur together did: never 100 % where one did not."""
    met, of = pairs
    return f"{100 * met // of} %" if of else ""


def folded(rows: Iterable[Row]) -> list[Row]:
    """Rows as they are; those of a check that names neither mode nor dtype as one where a block agrees on an engine."""
    from attn_ref.check.drawing import BESIDE

    rows = list(rows)
    if {(row.mode, row.dtype) for row in rows} - {("forward", "float64")} != {kind[:2] for kind in BESIDE}:
        return rows
    found: dict[Any, list[Row]] = {}
    for row in rows:
        plain = row.ok and not row.skipped and not row.not_run
        found.setdefault((row.block, row.engine) if plain else id(row), []).append(row)
    return [same[0] if len(same) == 1 else joined(same) for same in found.values()]


def joined(rows: list[Row]) -> Row:
    """Rows that agree as one."""
    worst = max(rows, key=lambda row: row.worst)
    modes, dtypes = (", ".join(dict.fromkeys(names)) for names in zip(*((r.mode, r.dtype) for r in rows), strict=True))
    gaps = sorted({gap for row in rows for gap in row.known_gaps})
    return replace(
        max(rows, key=lambda row: row.pairs), mode=modes, dtype=dtypes, cases=sum(row.cases for row in rows),
        worst=worst.worst, worst_at=worst.worst_at, known_gaps=gaps,
    )  # fmt: skip


def tone(row: Row) -> str:
    """The colour of a row's verdict."""
    return "red" if row.failures else "yellow" if row.skipped or row.not_run else "green"


def print_rows(report: Report, console: Any) -> None:
    """One line a row where all columns have room, without those that all rows share where these have; or two lines."""
    from rich.text import Text

    given = folded(report.rows)
    rows = [cells(row) for row in given]
    styles = [tone(row) for row in given]
    shared = [name for name in SHARED if len({row[name] for row in rows}) == 1]
    counted = [{**row, "known gaps": str(len(r.known_gaps) or "")} for row, r in zip(rows, given, strict=True)]
    for found, without in ((rows, []), (counted, []), (counted, shared)):
        names = [name for name in COLUMNS if name not in without and (name != "known gaps" or report.gaps)]
        if not console.is_terminal or natural(found, names) <= console.width:
            say_shared(rows, without, console)
            console.print(table(found, names, styles))
            break
    else:
        say_shared(rows, shared, console)
        print_pairs(counted, shared, styles, console)
    console.print()
    put(Text(told.legend(report), "dim"), console)


def natural(rows: list[dict[str, str]], names: Iterable[str]) -> int:
    """How wide a table is."""
    return sum(2 + max(len(name), *(len(row[name]) for row in rows)) for name in names) - 2


def say_shared(rows: list[dict[str, str]], shared: Iterable[str], console: Any) -> None:
    """What is the same in all rows."""
    said = [f"{rows[0][name]} cases" if name == "cases" else rows[0][name] for name in shared]
    if said:
        console.print(f"all rows: {', '.join(said)}\n", markup=False)


def table(rows: list[dict[str, str]], names: list[str], styles: list[str]) -> Any:
    """One line a row."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        made.add_column(name, justify="right" if name in RIGHT else "left", no_wrap=True)
    for row, style in zip(rows, styles, strict=True):
        made.add_row(*(Text(row[name], style if name == "verdict" else "") for name in names))
    return made


def print_pairs(rows: list[dict[str, str]], shared: Iterable[str], styles: list[str], console: Any) -> None:
    """Two lines a row: what it is and the verdict, then the figures."""
    from rich.text import Text

    block, engine = (max(len(row[name]) for row in rows) for name in ("block", "engine"))
    for row, style in zip(rows, styles, strict=True):
        names = f"{row['block']:{block}}  {row['engine']:{engine}}  "
        put(Text.assemble(names, (row["verdict"], style)), console)
        said = [f"{row[name]} cases" if name == "cases" else row[name] for name in SHARED if name not in shared]
        if row["tap"] and style != "red":
            said.append(f"{row['error/σ']} σ at {row['tap']}")
        elif row["tap"]:
            said.append(row["tap"].strip("()") if row["tap"].startswith("(") else f"at {row['tap']}")
        if row["known gaps"]:
            said.append(f"{row['known gaps']} known gap{'s' * (row['known gaps'] != '1')}")
        put(Text(", ".join(said), "dim"), console, indent=2)


# what differs ---------------------------------------------------------------------------------------------------------


def print_failure(row: Row, console: Any) -> None:
    """Where a row differs first, the taps, the smallest case, and how to run it again."""
    from rich.text import Text

    title = f"{row.block} on {row.engine}, {row.mode}, {row.dtype}: {row.failures} of {row.cases} cases differ"
    console.print()
    put(Text(title, "red bold"), console)
    put(verdict(row.first_divergence, row.fault, row.detail), console, indent=2)
    if row.taps:
        console.print()
        put(Text("taps of the smallest case, in order of computation"), console, indent=2)
        print_taps(told.taps(row.taps), console, indent=2)
    console.print()
    put(Text(f"smallest case{f', {row.shrunk}' if row.shrunk else ''}"), console, indent=2)
    for line in told.readable(str(row.case)):
        put(Text(line), console, indent=4)
    console.print()
    put(Text("run it again"), console, indent=2)
    # no line break of ours: what a terminal folds by itself is copied as one line
    command = told.command(str(row.case), row.engine, row.dtype, row.mode)
    console.print(Text(f"    {command}"), soft_wrap=True)


def verdict(tap: str | None, fault: str, detail: str) -> Any:
    """The sentence, its tap in bold."""
    from rich.text import Text

    said = Text(told.sentence(tap, fault, detail))
    if tap:
        said.highlight_words([tap], "bold")
    return said


def put(text: Any, console: Any, *, indent: int = 0) -> None:
    """Print below an indent, folded between words on a terminal."""
    from rich.text import Text

    lines = text.wrap(console, max(console.width - indent, 20)) if console.is_terminal else [text]
    for line in lines:
        line.rstrip()
        console.print(Text(" " * indent) + line, soft_wrap=True)


def print_taps(lines: list[told.Line], console: Any, *, indent: int = 0) -> None:
    """The taps in order of computation; where names and figures have no room side by side, on two lines each."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    headings = {"tap": "tap", "error": "error", "unit": "σ", "ratio": "error/σ"}
    widths = [max(len(heading), *(len(getattr(line, n)) for line in lines)) for n, heading in headings.items()]
    marks = ["✗ " if line.place == "first" else "  " for line in lines]
    made = Table(box=None, pad_edge=False, header_style="bold")
    if not console.is_terminal or sum(widths) + 2 + 2 * 3 + indent <= console.width:
        for heading in headings.values():
            heading = f"  {heading}" if heading == "tap" else heading
            made.add_column(heading, justify="right" if heading in RIGHT else "left", no_wrap=True)
        for mark, line in zip(marks, lines, strict=True):
            figures = (line.error, line.unit, line.ratio)
            made.add_row(*(Text(text, STYLES[line.place]) for text in (mark + line.tap, *figures)))
        console.print(Padding(made, (0, 0, 0, indent), expand=False))
        return
    for mark, line in zip(marks, lines, strict=True):
        put(Text(mark + line.tap, STYLES[line.place]), console, indent=indent)
        if line.error:
            said = f"error {line.error}, σ {line.unit}, error/σ {line.ratio}"
            put(Text(said, STYLES[line.place]), console, indent=indent + 4)


# known gaps -----------------------------------------------------------------------------------------------------------


def print_gaps(gaps: Iterable[Mapping[str, Any]], console: Any) -> None:
    """One line a gap; why it is one, and where upstream, is told elsewhere."""
    from rich.table import Table
    from rich.text import Text

    console.print("\n[bold]Known gaps of the engines, in force above[/] (why: docs/findings.md, --html, --json)")
    made = Table(box=None, pad_edge=False, show_header=False)
    for gap in gaps:
        said = f"{gap['op']} in {gap['dtype']} {grants(gap)}, {gap['package']} {gap['versions']}"
        made.add_row(Text(f"  {gap['id']}"), Text(said))
    console.print(made)
