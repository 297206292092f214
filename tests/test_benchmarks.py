"""The benchmarks run and say what they promise. No figure is held to anything: that is for ``make bench``."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.timing import Effort, Row, ratios, same

ROOT = Path(__file__).parent.parent
SLOW = [pytest.param(engine, marks=pytest.mark.deep) for engine in ("tensorflow", "jax")]


@pytest.mark.parametrize("group", ["numpy", "torch", "start-up", *SLOW])
def test_group_runs(group: str, tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", group, "--quick", "--json", str(target)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(target.read_text("utf-8"))
    assert {"date", "threads", "clock", "load_before", "load_after", "environment", "rows"} == set(report)
    assert report["threads"] == 1
    assert report["environment"]["versions"]["numpy"]
    assert any(row["case"].startswith("control") for row in report["rows"])
    for row in report["rows"]:
        assert row["group"] == group
        figures = [row[name] for name in ("ratio", "low", "high", "wall_ratio", "ours_ms", "theirs_ms")]
        assert all(math.isfinite(figure) and figure > 0 for figure in figures), row
        assert row["case"] in ran.stdout  # the table, plain where there is no terminal
    assert "\x1b" not in ran.stdout


def test_ratio_is_the_median_of_pairs_that_take_turns() -> None:
    order = []
    times = {"ours": iter([2.0, 4.0, 90.0]), "theirs": iter([1.0, 1.0, 1.0])}

    def timed(call):
        order.append(call())
        return (next(times[order[-1]]),) * 2

    found = ratios(lambda: "ours", lambda: "theirs", Effort(pairs=3, seconds=0.0), timed)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert (found["ratio"], found["wall_ratio"], found["pairs"]) == (4.0, 4.0, 3)
    assert (found["low"], found["high"]) == (3.0, 47.0)


@pytest.mark.parametrize(
    ("ratio", "low", "verdict"), [(1.049, 1.0, "met"), (1.08, 1.04, "even"), (1.08, 1.06, "MISSED")]
)
def test_verdict(ratio: float, low: float, verdict: str) -> None:
    row = Row("", "", "", "", 1.05, ratio, low, 1.2, ratio, 1.0, 1.0, 11)
    assert row.verdict == verdict


def test_what_differs_is_not_timed() -> None:
    same("alike", [1.0, 2.0], [1.0, 2.00001])
    with pytest.raises(AssertionError, match=r"other: 0\.5 apart"):
        same("other", [1.0, 2.5], [1.0, 2.0])
