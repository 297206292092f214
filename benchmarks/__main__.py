"""``python -m benchmarks``: every group in a process of its own, on one thread; a table, and JSON for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import click

from attn_ref.check.report import environment
from attn_ref.commands.output import check_targets, console, write_json
from attn_ref.engines import backend
from benchmarks.timing import QUICK, Effort, Row

#: group -> the module of it, and what its process needs in its environment
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "numpy": ("numpy_attention", {}),
    "maps": ("feature_maps", {}),
    "torch": ("torch_layers", {}),
    "tensorflow": (
        "keras_attention", {"KERAS_BACKEND": "tensorflow", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    ),
    "jax": (
        "keras_attention",
        {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"},
    ),
    "start-up": ("start_up", {}),
}  # fmt: skip
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("groups", nargs=-1, type=click.Choice(list(GROUPS)))
@click.option("--json", "target", metavar="FILE", help="Where the figures go; '-' for stdout, without a table.")
@click.option("--quick", is_flag=True, help="The smallest size, one pair: shows that it runs, and times nothing.")
@click.option("--here", is_flag=True, hidden=True, help="Run one group in this process, rows to --json.")
def main(groups: tuple[str, ...], target: str | None, quick: bool, here: bool) -> None:
    """Time this project beside what it is compared with. GROUPS: which to run; all if none is named."""
    if here:
        if "KERAS_BACKEND" in GROUPS[groups[0]][1]:
            backend(groups[0])  # imports Keras, without what TensorFlow's libraries say then
        module = import_module(f"benchmarks.{GROUPS[groups[0]][0]}")
        write_json([asdict(row) for row in module.rows(QUICK if quick else Effort(), quick)], str(target))
        return
    check_targets(json=target)
    load = os.getloadavg()
    rows = [row for group in groups or GROUPS for row in in_own_process(group, quick)]
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": 1,
        "clock": "CPU time of the process; wall_ratio: wall clock",
        "load_before": load,
        "load_after": os.getloadavg(),
        "environment": environment(),
        "rows": [{**asdict(row), "verdict": row.verdict} for row in rows],
    }
    if target:
        write_json(report, target)
    if target != "-":
        show(rows, report)


def in_own_process(group: str, quick: bool) -> list[Row]:
    """The rows of ``group``, which imports its framework and nothing of the others."""
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "rows.json")
        command = [sys.executable, "-m", "benchmarks", group, "--here", "--json", target, *(["--quick"] * quick)]
        print(f"{group} …", file=sys.stderr, flush=True)
        subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD, **GROUPS[group][1]})
        with open(target, encoding="utf-8") as lines:
            return [Row(**row) for row in json.load(lines)]


def show(rows: Iterable[Row], report: dict[str, Any]) -> None:
    """The table: green where an aim is met, yellow where the spread decides, red where it is missed."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("group", "case", "against", "size"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ratio", "quartiles", "wall", "aim", "ours ms", "theirs ms"):
        table.add_column(heading, no_wrap=True, justify="right")
    colours = {"": "", "met": "green", "even": "yellow", "MISSED": "red"}
    for row in rows:
        aim = "" if row.aim is None else f"≤ {row.aim:.2f} {row.verdict}"
        table.add_row(
            row.group, row.case, row.against, row.size, f"{row.ratio:.2f}", f"{row.low:.2f} – {row.high:.2f}",
            f"{row.wall_ratio:.2f}", aim, f"{row.ours_ms:.2f}", f"{row.theirs_ms:.2f}", style=colours[row.verdict],
        )  # fmt: skip
    out = console()
    out.print(table)
    found = report["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    out.print(
        f"\nratio: ours / theirs, median of pairs by {report['clock']}; {report['threads']} thread; "
        f"load {report['load_before'][0]:.1f} before, {report['load_after'][0]:.1f} after, on {found['cores']} cores; "
        f"python {found['python']}, {versions}; {found['processor']}",
        soft_wrap=True, markup=False, highlight=False, style="dim",
    )  # fmt: skip


if __name__ == "__main__":
    main()
