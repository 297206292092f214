"""``attn-ref check``."""

from __future__ import annotations

from typing import Any

import click

from attn_ref.commands.output import check_target, console, write_json


@click.command()
@click.argument("blocks", nargs=-1, metavar="[BLOCK]...")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    help="Engine to hold to the definitions, or all; default: every installed one but torch-compile and its like, "
    "which compile each block whole and take their time.",
)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    help="float64 (default: decides meaning), float32, bfloat16 or float16 (measure numerics).",
)
@click.option("--mode", "modes", multiple=True, help="forward (default), gradient or training.")
@click.option("--cases", default=50, show_default=True, help="Cases per block, engine and dtype.")
@click.option("--seed", default=0, show_default=True, help="Seed of the cases.")
@click.option("--executor", default="processes", show_default=True, help="processes (one per engine) or inline.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON; '-' writes it to stdout alone.")
@click.option("--html", "html_file", metavar="FILE", help="Write the report as one HTML page.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    blocks: tuple[str, ...], engines: tuple[str, ...], dtypes: tuple[str, ...], modes: tuple[str, ...],
    cases: int, seed: int, executor: str, json_file: str | None, html_file: str | None,
    quiet: bool,
) -> int:  # fmt: skip
    """Hold mirrors to the definitions, tap by tap, within a tolerance derived from rounding.

    Every case runs with taps on (each named intermediate is compared, in order of computation) and with taps off (the
    fused calls). Exit code 0: all agree; 1: something differs; 2: the request cannot be met.
    """
    check_target(json_file)
    check_target(html_file)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from attn_ref.check import check
    from attn_ref.check.terminal import print_report

    errors = console(stderr=True)
    bar = Progress(
        TextColumn("{task.description:42}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=errors, transient=True, disable=quiet or not errors.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("starting the engines", total=None)

        def progress(done: int, total: int, title: str) -> None:
            bar.update(task, completed=done, total=total, description=title)

        options: dict[str, Any] = {"engines": engines or None, "dtypes": dtypes or ("float64",)}
        report = check(
            *blocks,
            **options,
            modes=modes or ("forward",),
            cases=cases,
            seed=seed,
            executor=executor,
            progress=progress,
        )
    if json_file:
        write_json(report.to_json(), json_file)
    if html_file:
        from attn_ref.check.html import write_html

        write_html(report, html_file)
    if json_file != "-":
        print_report(report, console())
    return 0 if report.ok else 1
