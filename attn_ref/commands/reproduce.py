"""``attn-ref reproduce``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attn_ref.check.budget import TIMEOUT
from attn_ref.commands.output import console, write_json

if TYPE_CHECKING:
    from attn_ref.check.judge import Outcome


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
    from attn_ref.check.drawing import DTYPES, MODES
    from attn_ref.check.runner import known, one_apart

    known("dtype", [dtype], DTYPES)
    known("mode", [mode], MODES)
    outcome = one_apart(engine, mode, dtype, Case.from_json(text_of(case)), timeout, executor)
    if as_json:
        told = {"first_divergence": outcome.tap, "fault": outcome.fault, "detail": outcome.detail}
        write_json({"ok": outcome.first is None, **told, "rows": outcome.table()}, "-")
        return int(outcome.first is not None)
    print_outcome(outcome, dtype, console())
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


def print_outcome(outcome: Outcome, dtype: str, out: Any) -> None:
    """Every tap, and the verdict."""
    from rich.text import Text

    from attn_ref.check import told
    from attn_ref.check.numbers import short
    from attn_ref.check.terminal import print_taps, put, verdict
    from attn_ref.check.tolerance import LIMIT

    if outcome.rows:
        print_taps(told.taps(outcome.table(), whole=True), out)
        out.print()
        put(Text(told.sigma({dtype: LIMIT[dtype]}), "dim"), out)
        out.print()
    agrees = Text(f"agree: {short(outcome.worst)} σ at most")
    put(verdict(outcome.tap, outcome.fault, outcome.detail) if outcome.first else agrees, out)
