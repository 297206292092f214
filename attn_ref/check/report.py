"""What a check found: rows for machines, a table for people."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attn_ref.check.distribution import merged, quantiles
from attn_ref.check.gaps import grants

PACKAGES = ("attn_ref", "numpy", "scipy", "torch", "tensorflow", "keras", "jax", "jaxlib")
SWITCHES = ("OMP_NUM_THREADS", "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG")


@dataclass
class Row:
    """One block on one engine in one mode and dtype. ``worst`` is error/σ, the largest over all taps and cases."""

    block: str
    engine: str
    mode: str
    dtype: str
    cases: int = 0
    skipped: int = 0
    #: of the cases, those whose values alone were compared: at a kink gradients are not one thing
    forward_only: int = 0
    failures: int = 0
    worst: float = 0.0
    worst_at: str = ""
    #: how the worst figures of the cases are spread, see ``distribution``
    distribution: dict[str, int] = field(default_factory=dict)
    known_gaps: list[str] = field(default_factory=list)
    first_divergence: str | None = None
    detail: str = ""
    case: str | None = None
    #: why ``skipped`` or ``not_run`` are not 0
    note: str = ""
    #: cases that were to run and did not: too many before them had no result, or the check was interrupted
    not_run: int = 0

    @property
    def ok(self) -> bool:
        return self.failures == 0


@dataclass
class Report:
    """All rows, the known gaps that were in force, and what it ran on."""

    rows: list[Row]
    gaps: list[dict[str, Any]]
    environment: dict[str, Any]
    limits: dict[str, float]
    #: why the check ended before its end; None where it did not
    partial: str | None = None

    @property
    def ok(self) -> bool:
        """Was everything compared, and does all of it agree?"""
        return self.verdict == "AGREE"

    @property
    def verdict(self) -> str:
        """AGREE, DIFFER, PARTIAL (interrupted), NOTHING COMPARED or INCOMPLETE (cases were not run)."""
        if not all(row.ok for row in self.rows):
            return "DIFFER"
        if self.partial:
            return "PARTIAL"
        if not any(row.cases for row in self.rows):
            return "NOTHING COMPARED"
        return "INCOMPLETE" if any(row.not_run for row in self.rows) else "AGREE"

    def __str__(self) -> str:
        """The table and what belongs to it, as plain text."""
        from io import StringIO

        from rich.console import Console

        text = StringIO()
        print_report(self, Console(file=text, width=200, highlight=False))
        return text.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Plain data: rows, gaps, environment, limits, ok."""
        rows = [
            {**asdict(row), "distribution": merged([row.distribution]), "quantiles": quantiles(row.distribution)}
            for row in self.rows
        ]
        return {**asdict(self), "rows": rows, "ok": self.ok}


def environment() -> dict[str, Any]:
    """The versions, the processor and the switches that a figure depends on."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": versions,
        "switches": {name: os.environ[name] for name in SWITCHES if name in os.environ},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            wanted = [line for line in lines if line.startswith(("model name", "flags"))][:2]
    except OSError:
        return platform.processor()
    name = next((line.split(":", 1)[1].strip() for line in wanted if line.startswith("model")), "")
    flags = " ".join(wanted).split()
    vectors = [flag for flag in ("avx", "avx2", "fma", "avx512f", "amx_tile", "asimd") if flag in flags]
    return f"{name} ({' '.join(vectors)})"


def print_report(report: Report, console: Any) -> None:
    """The table, the differences, the known gaps and the environment."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (
        ("block", "left"), ("engine", "left"), ("mode", "left"), ("dtype", "left"), ("cases", "right"),
        ("worst error/σ", "right"), ("at tap", "left"), ("verdict", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify, no_wrap=heading != "at tap", overflow="fold")  # type: ignore[arg-type]
    for row in report.rows:
        verdict = "[green]agree[/]" if row.ok else f"[red]DIFFER in {row.failures}[/]"
        verdict += f" ({', '.join(row.known_gaps)})" if row.known_gaps else ""
        if row.skipped:
            verdict = f"[yellow]skipped: {row.note}[/]"
        elif row.not_run:
            verdict = (f"{verdict}; " if row.cases else "") + f"[yellow]{row.not_run} not run[/]"
        worst = f"{row.worst:.2f}" if row.cases else "–"
        table.add_row(row.block, row.engine, row.mode, row.dtype, str(row.cases), worst, row.worst_at, verdict)
    console.print(table)
    for row in report.rows:
        if not row.ok:
            console.print(f"\n[red bold]{row.block} on {row.engine}, {row.mode}, {row.dtype}[/]")
            console.print(f"  first differs at tap [bold]{row.first_divergence}[/]: {row.detail}", soft_wrap=True)
            console.print(f"  smallest failing case: {row.case}", soft_wrap=True, markup=False)
    for note in dict.fromkeys(row.note for row in report.rows if row.not_run and row.note):
        lost = [row.not_run for row in report.rows if row.not_run and row.note == note]
        console.print(f"\n{sum(lost)} cases in {len(lost)} rows: {note}", soft_wrap=True, markup=False)
    if report.gaps:
        console.print("\n[bold]Known gaps of the engines, in force above[/]")
        for gap in report.gaps:
            console.print(
                f"  {gap['id']}: {gap['op']} in {gap['dtype']} on {gap['engine']} {grants(gap)} "
                f"({gap['package']} {gap['versions']}): {gap['reason']} [{gap['upstream']}]",
                soft_wrap=True, markup=False, highlight=False,
            )  # fmt: skip
    seen = {name: v for name, v in report.environment["versions"].items() if v}
    console.print(
        f"\nagreement: |error| ≤ C·(σ + u·max|y|), "
        f"{', '.join(f'C = {c:g} in {d}' for d, c in report.limits.items())}; "
        f"python {report.environment['python']}, {', '.join(f'{n} {v}' for n, v in seen.items())}; "
        f"{report.environment['processor']}, {report.environment['cores']} cores",
        soft_wrap=True, markup=False, highlight=False, style="dim",
    )  # fmt: skip
    cases, bad = sum(r.cases for r in report.rows), sum(r.failures for r in report.rows)
    absent = sum(1 for r in report.rows if r.skipped)
    verdict = f"[{'green' if report.ok else 'red'} bold]{report.verdict}[/]"
    missing = f" [yellow]({absent} rows have no mirror)[/]" if absent else ""
    missing += f" [yellow]({report.partial})[/]" if report.partial else ""
    console.print(f"{cases} cases, {bad} differ: {verdict}{missing}")
