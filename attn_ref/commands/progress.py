"""How far a check is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

#: seconds between two lines
EVERY = 10.0
#: cases that tell how long one takes
ENOUGH = 5


class Said:
    """A callback for ``attn_ref.check``, and the context in which its bar stands. ``quiet``: it says nothing."""

    def __init__(self, console: Any, quiet: bool) -> None:
        self.console, self.lines = console, not quiet and not console.is_terminal
        what = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # what there is room for
        self.bar = Progress(
            BarColumn(16), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}", table_column=what, markup=False),
            console=console, transient=True, expand=True, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("starting the engines", total=None, left="")
        self.began = self.last = monotonic()
        #: when there were cases for the first time, and how many
        self.first: tuple[float, int] | None = None

    def __enter__(self) -> Said:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with suppress(OSError):  # the terminal may be gone
            self.bar.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        now = monotonic()
        passed, left = now - self.began, ""
        if done and self.first is None:  # from here on: until then engines start
            self.first = (now, done)
        if self.first and (more := done - self.first[1]) >= ENOUGH:
            left = f"about {clock((now - self.first[0]) / more * (total - done))} left"
        self.bar.update(self.task, completed=done, total=total, description=what, left=left)
        if self.lines and now - self.last >= EVERY:
            self.last = now
            said = f"{done} of {total} cases after {clock(passed)}{', ' if left else ''}{left}: {what}"
            self.console.print(said, soft_wrap=True, markup=False)


def clock(seconds: float) -> str:
    """75 → '1:15'."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
