"""``attn-ref reproduce``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from attn_ref.check import TIMEOUT
from attn_ref.commands.output import console, write_json


@click.command()
@click.argument("case", metavar="CASE")
@click.option("--engine", default="torch", show_default=True, help="Engine to run it on.")
@click.option("--dtype", default="float64", show_default=True, help="float64, float32, bfloat16 or float16.")
@click.option("--mode", default="forward", show_default=True, help="forward, gradient or training.")
@click.option("--executor", default="processes", show_default=True, help="processes or inline, for debuggers.")
@click.option("--timeout", default=TIMEOUT, show_default=True, metavar="SECONDS", help="Time for the case.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def command(case: str, engine: str, dtype: str, mode: str, executor: str, timeout: float, as_json: bool) -> int:
    """Run one case again and show the error at every tap, in order of computation.

    CASE is the JSON line that a report shows, a file that holds it, or '-' for standard input. Exit code 0: it agrees;
    1: it differs; 2: the request cannot be met.
    """
    from attn_ref.check.cases import Case
    from attn_ref.check.runner import DTYPES, MODES, known, one_apart
    from attn_ref.check.tolerance import LIMIT

    known("dtype", [dtype], DTYPES)
    known("mode", [mode], MODES)
    outcome = one_apart(engine, mode, dtype, Case.from_json(text_of(case)), timeout, executor)
    if as_json:
        rows = [{"tap": name, "error": error, "unit": unit, "ok": ok} for name, error, unit, ok in outcome.rows]
        write_json({"ok": outcome.first is None, "first_divergence": outcome.first, "rows": rows}, "-")
        return int(outcome.first is not None)
    from rich.table import Table

    table = Table("", "error", "unit", "error/unit", box=None, pad_edge=False, header_style="bold")
    for name, error, unit, ok in outcome.rows:
        style = "" if ok else "red"
        table.add_row(name, f"{error:.2e}", f"{unit:.2e}", f"{error / unit:.3g}", style=style)
    out = console()
    out.print(table)
    verdict = f"[red]differs first at {outcome.first}[/]: {outcome.detail}" if outcome.first else "[green]agree[/]"
    out.print(f"{outcome.worst:.3g} at most, {LIMIT[dtype]:g} is allowed: {verdict}", soft_wrap=True)
    return int(outcome.first is not None)


def text_of(case: str) -> str:
    """The case's JSON, given itself, in a file, or on standard input. ValueError if it is none of them."""
    if case == "-":
        return sys.stdin.read()
    if case.lstrip().startswith("{"):
        return case
    try:
        return Path(case).read_text("utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        taken = "CASE is the JSON line that a report shows, a file that holds it, or '-' for standard input"
        raise ValueError(f"{taken}; {case} cannot be read: {why}") from error
