"""What a check found: rows for machines, a table for people."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attn_ref.check.cases import Case
from attn_ref.check.distribution import merged, quantiles
from attn_ref.check.judge import Outcome
from attn_ref.check.numbers import strict

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
    #: of the smallest case that differs: the tap at which it does first, None where the difference is at no tap
    first_divergence: str | None = None
    #: one of ``compare.FAULTS``, and what was found
    fault: str = ""
    detail: str = ""
    case: str | None = None
    #: every tap that was compared, in order of computation: tap, error, unit, ratio, ok
    taps: list[dict[str, Any]] = field(default_factory=list)
    #: how the case became as small as it is
    shrunk: str = ""
    #: why ``skipped`` or ``not_run`` are not 0
    note: str = ""
    #: cases that were to run and did not: too many before them had no result, or the check was interrupted
    not_run: int = 0
    #: how many cases it should run
    asked: int = 0
    #: of options, inputs and styles two at a time: (pairs that the cases had, pairs that can occur together)
    pairs: tuple[int, int] = (0, 0)

    @property
    def ok(self) -> bool:
        return self.failures == 0

    def take(self, outcome: Outcome) -> None:
        """Tell the differences of this row by this case."""
        self.case, self.taps = outcome.case, outcome.table()
        self.first_divergence, self.fault, self.detail = outcome.tap, outcome.fault, outcome.detail

    def offer(self, outcome: Outcome) -> None:
        """Take a case that differs, if it is smaller than the one so far.

        One with an empty batch shows least, and then one that keeps all values and breaks another promise.
        """
        if self.case is None or _size(outcome.case, outcome.fault) < _size(self.case, self.fault):
            self.take(outcome)


def _size(text: str, fault: str) -> tuple[bool, bool, int]:
    case = Case.from_json(text)
    return case.empty(), fault == "contract", case.size()


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

        from attn_ref.check.terminal import UNFOLDED, print_report

        text = StringIO()
        print_report(self, Console(file=text, width=UNFOLDED, highlight=False))
        return text.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Plain data that JSON can hold (see ``numbers.strict``): rows, gaps, environment, limits, ok."""
        rows = [
            {**asdict(row), "distribution": merged([row.distribution]), "quantiles": quantiles(row.distribution)}
            for row in self.rows
        ]
        plain: dict[str, Any] = strict({**asdict(self), "rows": rows, "ok": self.ok})
        return plain


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
