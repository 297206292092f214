"""How far a check is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any

#: seconds between two lines
EVERY = 10.0


class Said:
    """A callback for ``attn_ref.check``, and the context in which its bar stands. ``quiet``: it says nothing."""

    def __init__(self, console: Any, quiet: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed
        from rich.progress import TimeRemainingColumn as Remaining

        self.console, self.lines = console, not quiet and not console.is_terminal
        self.bar = Progress(
            TextColumn("{task.description:42}"), BarColumn(), MofNCompleteColumn(), Elapsed(),
            TextColumn("about"), Remaining(), TextColumn("left"),
            console=console, transient=True, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("starting the engines", total=None)
        self.began = self.last = monotonic()

    def __enter__(self) -> Said:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with suppress(OSError):  # the terminal may be gone
            self.bar.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        self.bar.update(self.task, completed=done, total=total, description=what)
        now = monotonic()
        if self.lines and now - self.last >= EVERY:
            self.last, passed = now, now - self.began
            left = f", about {clock(passed / done * (total - done))} left" if done else ""
            self.console.print(f"{done} of {total} cases after {clock(passed)}{left}: {what}", soft_wrap=True)


def clock(seconds: float) -> str:
    """75 → '1:15'."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
