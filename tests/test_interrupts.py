"""Ctrl-C, SIGTERM, SIGHUP and SIGKILL: the command ends at once, says what it has, and leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import fake_engines
import pytest
from fake_engines import arguments, environment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_engines.install(tmp_path_factory.mktemp("fakes"))


def left(mark: str) -> list[str]:
    """The processes, alive or not, that were started with ``mark`` in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def interrupted(
    folder: Path, command: list[str], numbers: list[int], ready: Callable[[], bool]
) -> tuple[int, float, str, str]:
    """A command gets signals once it is ready: its exit code, seconds from the first to its end, and its output."""
    mark = uuid4().hex
    process = subprocess.Popen(
        command, env=environment(folder, MARK=mark), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        for _ in range(400):
            if ready():
                break
            time.sleep(0.05)
        began = time.monotonic()
        for number in numbers:
            os.killpg(process.pid, number)  # as a terminal does
            time.sleep(0.01)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    took = time.monotonic() - began
    for _ in range(20):  # a process that is killed needs a moment
        if not left(mark):
            break
        time.sleep(0.05)
    assert not left(mark)
    return process.returncode, took, out, err


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.parametrize(
    ("engine", "numbers", "code"),
    [
        ("starts-slowly", [signal.SIGINT], 130),
        ("marks-always", [signal.SIGINT], 130),
        ("marks-always", [signal.SIGINT] * 20, 130),
        ("marks-always", [signal.SIGTERM], 143),
        ("marks-always", [signal.SIGHUP], 129),
    ],
    ids=["starting", "running", "twenty times", "SIGTERM", "SIGHUP"],
)
def test_a_check_that_is_interrupted_reports_what_it_has(
    engine: str, numbers: list[int], code: int, folder: Path, tmp_path: Path
) -> None:
    report, page, begun = tmp_path / "report.json", tmp_path / "report.html", tmp_path / "begun"
    command = [
        sys.executable,
        "-m",
        "attn_ref",
        *arguments(engine, count=9),
        "--json",
        str(report),
        "--html",
        str(page),
    ]
    os.environ["FAKE_BEGUN"] = str(begun)
    try:
        got, took, out, err = interrupted(folder, command, numbers, begun.exists)
    finally:
        del os.environ["FAKE_BEGUN"]
    assert got == code, err
    assert took < 2.0
    assert not err
    found = json.loads(report.read_text())
    done = sum(row["cases"] for row in found["rows"])
    said = f"interrupted after {done} of 18 cases"
    assert found["partial"] == said
    assert not found["ok"]
    assert f"{done} cases, 0 differ: PARTIAL ({said})" in out
    assert said in page.read_text()
    assert sum(row["not_run"] for row in found["rows"]) == 18 - done


@linux
def test_workers_end_with_a_check_that_is_killed(folder: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.environ["FAKE_BEGUN"] = str(begun)
    try:
        command = [sys.executable, "-m", "attn_ref", *arguments("marks-always")]
        assert interrupted(folder, command, [signal.SIGKILL], begun.exists)[0] == -signal.SIGKILL
    finally:
        del os.environ["FAKE_BEGUN"]


@linux
@pytest.mark.parametrize("module", ["numpy", "click", "rich"])
def test_ctrl_c_while_the_command_is_imported(module: str, folder: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / f"{module}.py").write_text(f"open({str(begun)!r}, 'w').close()\nwhile True:\n    pass\n")
    command = [sys.executable, "-m", "attn_ref", "check", "FeedForward"]
    code, took, out, err = interrupted(
        folder, ["env", f"PYTHONPATH={tmp_path}:{environment(folder)['PYTHONPATH']}", *command], [signal.SIGINT],
        begun.exists,
    )  # fmt: skip
    assert (code, out, err.strip()) == (130, "", "interrupted")
    assert took < 2.0


SCRIPT = """
import os, signal, threading, attn_ref as ar
def children():
    return [c for t in os.listdir("/proc/self/task") for c in open(f"/proc/self/task/{t}/children").read().split()]
def stop(done, total, what):
    if done == 2:
        signal.raise_signal(signal.SIGINT)
try:
    ar.check("RotaryEmbedding", engines="good", cases=5, progress=stop)
except KeyboardInterrupt as error:
    print(error.report.partial, children())
print(ar.check("RotaryEmbedding", engines="good", cases=5).verdict, children())
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@linux
def test_in_python_it_is_a_keyboard_interrupt_and_no_process_is_left(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment(folder), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["interrupted after 2 of 5 cases []", "AGREE []"]
