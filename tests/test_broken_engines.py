"""No engine ends the check: whatever a mirror does to its process, its case says so and all other cases are run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from functools import cache
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import fake_engines
import pytest
from fake_engines import BLOCKS, arguments, environment

import attn_ref as ar
from attn_ref.check import apart, lanes
from attn_ref.check.cases import Case, cases
from attn_ref.check.covering import planned
from attn_ref.check.judge import FAULTS
from attn_ref.check.runner import one_apart
from attn_ref.engines import backends

pytestmark = pytest.mark.xdist_group("broken engines")  # in one worker, which runs the check of all of them once


@cache
def start() -> int:
    """Seconds that an engine may take to start in these tests, on this machine: many start at once on a few cores."""
    before = monotonic()
    subprocess.run([sys.executable, "-c", "import attn_ref.check.worker"], check=True)
    return max(4, round(12 * (monotonic() - before)))


def command() -> str:
    """The command, with limits that a test can wait for."""
    return f"from attn_ref.check import apart; apart.START = {start()}; from attn_ref.cli import main; main()"


#: way -> kind of fault, what the report says
ENDINGS = {
    "exit0": ("ended", "its process ended with exit code 0 in the middle of a case"),
    "exit3": ("ended", "its process ended with exit code 3 in the middle of a case"),
    "segfault": ("ended", "its process was ended by SIGSEGV (Segmentation fault) in the middle of a case"),
    "abort": ("ended", "its process was ended by SIGABRT (Aborted) in the middle of a case"),
    "closes": ("ended", "its process closed its pipes in the middle of a case"),
    "import-exits": ("ended", "its process ended with exit code 9 in the middle of a case"),
    "loop": ("timeout", "it took more than 6 s, all that it has for a case (timeout)"),
    "c-loop": ("timeout", "it took more than 6 s, all that it has for a case (timeout)"),
    "system-exit": ("raised", "SystemExit: 0"),
    "interrupt": ("raised", "KeyboardInterrupt"),
    "bare": ("raised", "Bare: out of the blue"),
    "import-fails": ("raised", "ModuleNotFoundError: No module named 'attn_ref_fake_nowhere'"),
    "giant": ("memory", "MemoryError: Unable to allocate 8.00 TiB"),
}
NO_START = {
    "start-exits": "start-exits did not start: its process ended with exit code 7 while it started",
    "start-hangs": "start-hangs did not start: it took more than {} s, all that it has to start",
    "start-raises": "start-raises did not start: ImportError: no libfake",
}
#: they do odd things and agree
HARMLESS = ("good", "prints", "forks", "tells-nothing")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_engines.install(tmp_path_factory.mktemp("fakes"))


@pytest.fixture
def fakes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake engines are installed while a test runs."""
    monkeypatch.syspath_prepend(folder)
    backends.cache_clear()
    yield
    backends.cache_clear()


#: so many of the first four cases have the option at which mirrors break
RELU = sum(case.fields["activation"] == "relu" for case in planned(ar.FeedForward)[:4])


@pytest.fixture(scope="module")
def checked(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All broken engines in one check, by the command: its exit code, what it printed, its report and its page."""
    page = tmp_path_factory.mktemp("page") / "report.html"
    engines = (*ENDINGS, *NO_START, *HARMLESS, "exit3-always", "bare-always")
    told = [*arguments(*engines), "--timeout", "6", "--json", "-", "--html", str(page)]
    done = subprocess.run(
        [sys.executable, "-c", command(), *told], env=environment(folder), capture_output=True, text=True, timeout=180
    )
    report = json.loads(done.stdout)  # and so nothing else was printed there
    rows = {(row["engine"], row["block"]): row for row in report["rows"]}
    return {"code": done.returncode, "report": report, "rows": rows, "page": page.read_text(), "said": done.stderr}


@pytest.mark.parametrize("way", ENDINGS)
def test_a_mirror_may_end_its_process_and_not_the_check(way: str, checked: dict[str, Any]) -> None:
    row, fault, said = checked["rows"][way, "FeedForward"], *ENDINGS[way]
    assert fault in FAULTS
    assert (row["first_divergence"], row["fault"]) == (None, fault)
    assert said in row["detail"]
    assert (row["cases"], row["failures"]) == (4, RELU), "the other cases of the row are run and count"
    assert row["not_run"] == 0
    assert Case.from_json(row["case"]).fields["activation"] == "relu"
    other = checked["rows"][way, "RotaryEmbedding"]
    assert (other["cases"], other["failures"]) == (4, 0), "so are the other rows"


@pytest.mark.parametrize("engine", NO_START)
def test_an_engine_that_does_not_start_says_so_in_its_rows(engine: str, checked: dict[str, Any]) -> None:
    for block in BLOCKS:
        row = checked["rows"][engine, block]
        assert (row["cases"], row["failures"], row["not_run"], row["note"]) == (
            0,
            0,
            4,
            NO_START[engine].format(start()),
        )
    assert checked["report"]["environment"]["engines"][engine] == {"error": NO_START[engine].format(start())}


@pytest.mark.parametrize("engine", HARMLESS)
def test_what_is_odd_and_right_agrees(engine: str, checked: dict[str, Any]) -> None:
    row = checked["rows"][engine, "FeedForward"]
    assert (row["cases"], row["failures"]) == (4, 0)


def test_what_mirrors_print_goes_to_standard_error(checked: dict[str, Any]) -> None:
    assert "from Python\nfrom C\n" in checked["said"]


def test_after_three_cases_without_a_result_the_rest_of_a_row_is_not_run(checked: dict[str, Any]) -> None:
    row = checked["rows"]["exit3-always", "FeedForward"]
    assert (row["cases"], row["failures"], row["not_run"]) == (3, 3, 1)
    assert row["note"] == "not run after 3 cases in a row without a result"
    assert checked["rows"]["exit3-always", "RotaryEmbedding"]["cases"] == 4
    assert checked["rows"]["bare-always", "FeedForward"]["failures"] == 4, "what is raised leaves the worker alive"


def test_the_report_is_whole(checked: dict[str, Any]) -> None:
    assert checked["code"] == 1
    assert checked["report"]["partial"] is None
    assert not checked["report"]["ok"]
    told = checked["report"]["environment"]["engines"]
    assert told["good"] == {"device": "paper"}
    assert told["tells-nothing"] == {"error": "its process ended with exit code 5 in the middle of a case"}
    for said in (NO_START["start-exits"], "SIGSEGV", "1 not run"):
        assert said in checked["page"], said
    assert "Traceback" not in checked["said"]


def test_cases_that_were_not_run_are_no_agreement(fakes: None) -> None:
    report = ar.check("RotaryEmbedding", engines=["good", "start-exits"], cases=2)
    assert (report.ok, report.verdict) == (False, "INCOMPLETE")
    assert NO_START["start-exits"] in str(report)
    assert ar.check("RotaryEmbedding", engines="start-exits", cases=2).verdict == "NOTHING COMPARED"


def test_a_mirror_that_eats_memory_is_ended(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "MOST", 100 << 20)
    row, other = ar.check(*BLOCKS, engines="eats", cases=4).rows
    assert (row.cases, row.failures, row.fault) == (4, 1, "memory")
    assert " MB more than after its start, and 100 MB are allowed" in row.detail
    assert (other.cases, other.failures) == (4, 0)


def test_a_worker_that_has_grown_is_replaced_between_cases(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    started, seen = [], [0]
    start, grown = apart.Worker.started, apart.Worker.grown
    monkeypatch.setattr(apart.Worker, "started", lambda self: (started.append(1), start(self))[1])
    monkeypatch.setattr(apart.Worker, "grown", lambda self: (seen.append(grown(self)), seen[-1])[1])
    monkeypatch.setattr(apart, "RENEW", 100 << 20)
    report = ar.check("FeedForward", engines="leaks-always", cases=4)  # 20 MB in each of up to seven runs a case
    assert report.ok, str(report)
    assert len(started) > 1
    assert 100 << 20 < max(seen) < 400 << 20


def one_broken_case() -> Case:
    return next(case for case in cases(ar.FeedForward, 9) if case.fields["activation"] == "relu")


def test_one_case_apart_survives_it_too(fakes: None, folder: Path) -> None:
    case = one_broken_case()
    assert one_apart("good", "forward", "float64", case).first is None
    outcome = one_apart("c-loop", "forward", "float64", case, 0.5)
    assert (outcome.fault, outcome.worst) == ("timeout", float("inf"))
    assert Case.from_json(outcome.case) == case
    with pytest.raises(RuntimeError, match="start-exits did not start: its process ended with exit code 7"):
        one_apart("start-exits", "forward", "float64", case)


def test_reproduce_tells_of_a_crash(folder: Path) -> None:
    command = [sys.executable, "-m", "attn_ref", "reproduce", one_broken_case().to_json(), "--engine", "segfault"]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "SIGSEGV" in done.stdout
    assert not done.stderr


def test_inline_takes_what_is_no_exception_for_a_fault(fakes: None) -> None:
    for engine, said in (("system-exit", "SystemExit: 0"), ("bare", "Bare: out of the blue")):
        report = ar.check("FeedForward", engines=engine, cases=6, executor="inline")
        assert report.rows[0].detail == said
        assert report.rows[0].cases == 6
    with pytest.raises(KeyboardInterrupt):
        ar.check("FeedForward", engines="interrupt", cases=6, executor="inline")


class Breaks(Executor):
    """Like a pool of processes that has lost one: this and every later task fails."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise BrokenExecutor("a process ended")


def test_executors_of_a_caller_do_what_they_did(fakes: None) -> None:
    with ThreadPoolExecutor(1) as pool:
        report = ar.check("RotaryEmbedding", engines="good", cases=25, executor=lambda engine: pool)
    assert report.ok
    assert report.rows[0].cases == 25
    report = ar.check("RotaryEmbedding", engines="good", cases=60, executor=lambda engine: Breaks())
    row = report.rows[0]
    assert (row.cases, row.failures) == (60, 60)
    assert (row.fault, row.detail) == ("ended", "BrokenExecutor: a process ended")


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), "2", True])
def test_a_timeout_is_above_zero(timeout: Any) -> None:
    with pytest.raises(ValueError, match=f"timeout should be a number of seconds above 0; got {timeout!r}"):
        ar.check("FeedForward", engines="torch", timeout=timeout)


def test_progress_moves_with_every_case_and_says_what_it_waits_for(fakes: None, monkeypatch) -> None:
    seen: list[tuple[int, int, str]] = []
    monkeypatch.setattr(lanes, "PATIENCE", 0.05)
    ar.check(
        "FeedForward", "RotaryEmbedding", engines="slow-always", cases=2, progress=lambda *given: seen.append(given)
    )
    assert seen[0] == (0, 4, "drawing cases of FeedForward")
    assert (0, 4, "starting slow-always") in seen
    assert {done for done, _, _ in seen} == set(range(5))
    assert {total for _, total, _ in seen} == {4}
    assert {"FeedForward · slow-always · forward · float64", "FeedForward on slow-always for 0 s"} <= {
        w for *_, w in seen
    }


def test_where_there_is_no_terminal_a_line_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from attn_ref.commands import progress

    for quiet in (False, True):
        times = iter([0.0, 5.0, 12.0, 15.0, 24.0])
        monkeypatch.setattr(progress, "monotonic", lambda times=times: next(times))
        text = StringIO()
        with progress.Said(Console(file=text, width=200), quiet) as said:
            said(0, 100, "starting torch")
            said(0, 100, "starting torch")
            said(10, 100, "A · torch")
            said(20, 100, "B · torch")
        lines = ["0 of 100 cases after 0:12: starting torch", "20 of 100 cases after 0:24, about 1:12 left: B · torch"]
        assert text.getvalue().splitlines() == ([] if quiet else lines)
