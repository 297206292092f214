"""What it takes to start: whole processes, against one that imports NumPy."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.timing import Call, Effort, Row, Times, ratios

NUMPY = ["-c", "import numpy"]
CASES = {
    "control: import numpy": NUMPY,
    "import attn_ref": ["-c", "import attn_ref"],
    "attn-ref --help": ["-m", "attn_ref", "--help"],
}


def rows(effort: Effort, tiny: bool) -> Iterator[Row]:
    """Each case, files being in the system's cache."""
    effort = replace(effort, pairs=max(effort.pairs, 1 if tiny else 21))
    for case, arguments in CASES.items():
        figures = ratios(started(arguments), started(NUMPY), effort, process)
        yield Row("start-up", case, "import numpy", "a process", None, **figures)


def started(arguments: list[str]) -> Call:
    """A call that runs Python with ``arguments`` and fails if it does."""

    def run() -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    return run


def process(call: Call) -> Times:
    """CPU seconds of the process that ``call`` starts, and wall seconds."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    call()
    elapsed, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, elapsed
