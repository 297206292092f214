"""``attn-ref check``."""

from __future__ import annotations

import signal
from contextlib import nullcontext, suppress
from typing import Any

import click

from attn_ref import interrupts
from attn_ref.check import check
from attn_ref.check.budget import TIMEOUT
from attn_ref.check.html import write_html
from attn_ref.check.runner import Interrupted
from attn_ref.check.terminal import print_report
from attn_ref.commands.output import check_targets, console, write_json
from attn_ref.commands.progress import Said


@click.command()
@click.argument("blocks", nargs=-1, metavar="[BLOCK]...")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    help="Engine to hold to the definitions, or all; default: every installed one but torch-compile and its like, "
    "which compile each block whole and take their time. A layer of another library goes by its name there, such as "
    "nn.MultiheadAttention.",
)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    help="float64 (decides meaning), float32, bfloat16 or float16 (measure numerics); default: float64, and a few "
    "cases of the others where no --mode is named either.",
)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    help="forward, gradient or training; default: forward, and a few cases of the others where no --dtype is named "
    "either.",
)
@click.option(
    "--cases",
    type=int,
    help="Cases per block, engine, mode and dtype; default: forward as many as cover every pair of option values and "
    "inputs, at least 50.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the cases.")
@click.option(
    "--timeout",
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Time for a case; an engine that takes longer is ended and started again.",
)
@click.option("--executor", default="processes", show_default=True, help="processes (one per engine) or inline.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON; '-' writes it to stdout alone.")
@click.option("--html", "html_file", metavar="FILE", help="Write the report as one HTML page.")
@click.option("--quiet", is_flag=True, help="No progress, neither a bar nor lines.")
def command(
    blocks: tuple[str, ...], engines: tuple[str, ...], dtypes: tuple[str, ...], modes: tuple[str, ...],
    cases: int | None, seed: int, timeout: float, executor: str, json_file: str | None, html_file: str | None,
    quiet: bool,
) -> int:  # fmt: skip
    """Hold mirrors to the definitions, tap by tap, within a tolerance derived from rounding.

    Every case runs with taps on (each named intermediate is compared, in order of computation) and with taps off (the
    fused calls). Exit code 0: all agree; 1: something differs or was not run; 2: the request cannot be met; 130:
    interrupted by Ctrl-C, with a report of what was done until then.
    """
    check_targets(json=json_file, html=html_file)
    said = Said(console(stderr=True), quiet)
    options: dict[str, Any] = {"engines": engines or None, "dtypes": dtypes or None}
    code = None
    with said:
        try:
            report = check(
                *blocks,
                **options,
                modes=modes or None,
                cases=cases,
                seed=seed,
                timeout=timeout,
                executor=executor,
                progress=said,
            )
        except Interrupted as stop:
            interrupts.catch(signal.SIG_IGN)  # whoever presses Ctrl-C once more wants the report all the same
            report, code = stop.report, stop.code
    if json_file and json_file != "-":
        write_json(report.to_json(), json_file)
    if html_file:
        write_html(report, html_file)
    with suppress(OSError) if code else nullcontext():  # the terminal may be gone
        if json_file == "-":
            write_json(report.to_json(), json_file)
        else:
            print_report(report, console())
    return code or (0 if report.ok else 1)
