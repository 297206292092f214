"""The benchmarks run and say what they promise. No figure is held to anything: that is for ``make bench``."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import mutants
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
    same("all but a few", [2.5, *[1.0] * 99], [2.0, *[1.0] * 99], but=0.02)
    with pytest.raises(AssertionError, match="more than a few"):
        same("more than a few", [2.5, 2.5, 2.5, *[1.0] * 97], [2.0, 2.0, 2.0, *[1.0] * 97], but=0.02)


def test_every_kind_of_mutant_is_made_once() -> None:
    tree = ast.parse("def f(a, b):\n    return (a + 1 if not a < 2.0 and b else -b) if True else 0\n")
    made = []
    for node, change in mutants.mutations(tree):
        kept = dict(vars(node))
        vars(node).update(change)
        made.append(ast.unparse(tree).splitlines()[1].strip().removeprefix("return "))
        vars(node).update(kept)
    assert sorted(made) == sorted([
        "0 if True else a + 1 if not a < 2.0 and b else -b",
        "(-b if not a < 2.0 and b else a + 1) if True else 0",
        "(a - 1 if not a < 2.0 and b else -b) if True else 0",
        "(a + 2 if not a < 2.0 and b else -b) if True else 0",
        "(a + 1 if not a < 2.0 or b else -b) if True else 0",
        "(a + 1 if not not a < 2.0 and b else -b) if True else 0",
        "(a + 1 if not a <= 2.0 and b else -b) if True else 0",
        "(a + 1 if not a < 3.01 and b else -b) if True else 0",
        "(a + 1 if not a < 2.0 and b else +b) if True else 0",
        "(a + 1 if not a < 2.0 and b else -b) if False else 0",
        "(a + 1 if not a < 2.0 and b else -b) if True else 1",
    ])  # fmt: skip


def test_mutants_of_a_mirror_are_caught_and_the_mirror_is_not() -> None:
    assert mutants.first_difference("torch", "FeedForward")[0] is None
    found = list(mutants.mutants("torch", "FeedForward"))
    assert found
    assert all(mutant.caught for mutant in found)
    assert mutants.first_difference("torch", "FeedForward")[0] is None


def test_a_mutant_leaves_the_modules_and_the_names_that_keras_knows_as_they_were() -> None:
    import keras
    from attn_ref_keras.blocks import feed_forward

    def state() -> tuple[dict[str, int], dict[str, int]]:
        modules = {name: id(m) for name, m in sys.modules.items() if name.startswith("attn_ref_keras.")}
        return modules, {name: id(known) for name, known in keras.saving.get_custom_objects().items()}

    before, path = state(), Path(feed_forward.__file__)
    with mutants.instead(feed_forward.__name__, compile(path.read_text("utf-8"), path, "exec")):
        assert state() != before
    assert state() == before


def test_the_page_of_mutants_is_its_data() -> None:
    data = json.loads(mutants.DATA.read_text("utf-8"))["mutants"]
    text = mutants.PAGE.read_text("utf-8").split(mutants.BEGIN)[1].split(mutants.END)[0]
    assert text.strip() == mutants.page([mutants.Mutant(**row) for row in data])
