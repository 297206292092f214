"""What a check runs when: each engine is a lane, on which the cases of its rows run one after the other.

Only a few cases are under way on a lane, and those of a row are drawn when it is the row's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from time import monotonic
from typing import Any

from attn_ref.check.apart import Apart, Lost, NotStarted
from attn_ref.check.cases import Case
from attn_ref.check.judge import Outcome
from attn_ref.check.report import Row
from attn_ref.engines import served

#: so many cases in a row may cost the worker; the rest of their row is not run
ENOUGH = 3
#: cases in a task, and tasks under way, for an executor of somebody else, which may be far away
CHUNK, AHEAD = 10, 64
#: seconds after which a check says what it waits for
PATIENCE = 1.0

#: called with (cases done, cases in all, what is done)
Progress = Callable[[int, int, str], None]


class Inline(Executor):
    """Runs a task where it is submitted: for debuggers. What a task raises ends the check."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass(frozen=True)
class Steps:
    """What is done for a row: draw its cases, run some of them (in the worker), enter what came of them."""

    draw: Callable[[Row], list[str]]
    work: Callable[[str, str, str, list[str]], list[Outcome]]
    enter: Callable[[Row, Iterable[Outcome]], None]
    #: what an engine says of itself, asked first
    fingerprint: Callable[[str], dict[str, Any]]


class Lane:
    """The rows of one engine, its executor, and what is under way there."""

    def __init__(self, engine: str, rows: Sequence[Row], executor: Executor, steps: Steps) -> None:
        self.engine, self.rows, self.executor, self.steps = engine, rows, executor, steps
        own = isinstance(executor, Apart | Inline)
        self.chunk, self.ahead = (1, 1 if isinstance(executor, Inline) else 2) if own else (CHUNK, AHEAD)
        self.waiting: dict[Future[Any], tuple[Row | None, list[str]]] = {}
        self.tasks = self._tasks()
        #: is told what is done here, by whoever carries it out
        self.tell: Callable[[str], None] = lambda what: None
        self.now, self.since, self.lost = "", monotonic(), 0
        #: what the engine says of itself
        self.told: dict[str, Any] = {}
        self._submit(None, [], steps.fingerprint, engine)

    def _tasks(self) -> Iterator[tuple[Row, list[str]]]:
        for row in self.rows:
            if row.note:
                continue
            self.tell(f"drawing cases of {row.block}")
            texts = self.steps.draw(row)
            for start in range(0, len(texts), self.chunk):
                if row.note:
                    break
                yield row, texts[start : start + self.chunk]

    def fill(self) -> None:
        """Submit tasks until enough are under way."""
        while len(self.waiting) < self.ahead and (given := next(self.tasks, None)):
            row, texts = given
            self._submit(row, texts, self.steps.work, row.engine, row.mode, row.dtype, texts)

    def _submit(self, row: Row | None, texts: list[str], function: Callable[..., Any], *args: Any) -> None:
        try:
            future = self.executor.submit(function, *args)
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        self.waiting[future] = row, texts

    def take(self, future: Future[Any]) -> None:
        """Enter what came of a task."""
        row, texts = self.waiting.pop(future)
        self.since = monotonic()
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, NotStarted):
            self.told = self.told or {"error": str(error)}
            self.close(self.rows, str(error))
        elif row is None:
            self.told = {"error": said(error)} if error else future.result()
        else:
            self.now = f"{row.block} · {row.engine} · {row.mode} · {row.dtype}"
            outcomes = [without_result(text, error) for text in texts] if error else future.result()
            self.steps.enter(row, outcomes)
            # what was raised has left the worker as it was
            self.lost = self.lost + 1 if error and (not isinstance(error, Lost) or error.fault != "raised") else 0
            if self.lost == ENOUGH:
                self.lost = 0
                self.close([row], f"not run after {ENOUGH} cases in a row without a result")

    def close(self, rows: Iterable[Row], note: str) -> None:
        """Run no more of these rows, and say why."""
        for row in rows:
            row.note = row.note or note
        for future, (its, _) in self.waiting.items():
            if its and its.note:
                future.cancel()

    def waits_for(self) -> str:
        """What is under way, in words."""
        if not self.told:
            return f"starting {self.engine}"
        row = next((row for row, _ in self.waiting.values() if row), None)
        if row is None:
            return ""
        compiles = ", which compiles," if self.engine in served(self.engine).shapes else ""
        return f"{row.block} on {self.engine}{compiles} for {monotonic() - self.since:.0f} s"


def carry_out(lanes: Sequence[Lane], progress: Progress) -> None:
    """Run everything; afterwards every row has its cases, or a note that says why not."""

    def tell(what: str) -> None:
        rows = [row for lane in lanes for row in lane.rows if not row.skipped]
        progress(sum(row.cases for row in rows), sum(row.cases if row.note else row.asked for row in rows), what)

    for lane in lanes:
        lane.tell = tell
    while True:
        for lane in lanes:
            lane.fill()
        waiting = {future: lane for lane in lanes for future in lane.waiting}
        if not waiting:
            return
        done, _ = wait(waiting, PATIENCE, FIRST_COMPLETED)
        for future in done:
            lane = waiting[future]
            lane.take(future)
            tell(lane.now or waits_for(lanes))
        if not done:
            tell(waits_for(lanes))


def waits_for(lanes: Iterable[Lane]) -> str:
    """What all that is under way is, in words: engines that start, then the case that takes longest."""
    starting = [lane.engine for lane in lanes if lane.waiting and not lane.told]
    running = [lane for lane in lanes if lane.waiting and lane.told]
    parts = [f"starting {', '.join(dict.fromkeys(starting))}"] if starting else []
    return "; ".join(
        parts + [text for lane in sorted(running, key=lambda x: x.since)[:1] if (text := lane.waits_for())]
    )


def said(error: BaseException) -> str:
    """An error in words."""
    return str(error) if isinstance(error, Lost) else f"{type(error).__name__}: {error}".removesuffix(": ")


def without_result(text: str, error: BaseException) -> Outcome:
    """The outcome of a case whose task ended in an error that no mirror's comparison has caught."""
    broken = "ended" if isinstance(error, BrokenExecutor) else "raised"
    fault = error.fault if isinstance(error, Lost) else broken
    size = Case.from_json(text).size()
    return Outcome(text, float("inf"), "", first=fault, fault=fault, detail=said(error), size=size)
