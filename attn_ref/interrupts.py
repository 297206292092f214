"""Ctrl-C, SIGTERM and SIGHUP: how the command ends early, without a traceback, and says so in its exit code.

From its first instant the command leaves at once. While it works it unwinds, so that files and processes are cleared
away. Imports nothing that takes time: ``attn_ref`` imports this first where it is the command.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # importing typing takes as long as all the rest of this
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

#: those that the system has
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal has come that ends the command; ``code`` is what it then ends with."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def is_command() -> bool:
    """Is this process ``attn-ref`` or ``python -m attn_ref``, of which the package is imported first?"""
    if sys.argv[:1] == ["-m"]:
        return sys.orig_argv[sys.orig_argv.index("-m") + 1] == "attn_ref"
    return os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".exe") == "attn-ref"


def leave(number: int, _: FrameType | None) -> None:
    """While nothing is there yet that would have to be cleared away."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


def unwind(number: int, _: FrameType | None) -> None:
    """While something is there."""
    raise Stopped(number)


def catch(handler: Any) -> None:
    """Have signals go to ``handler``, but for those that whoever started this process had it ignore (nohup, &)."""
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, handler)


class Deaf:
    """No signal interrupts what happens inside. In another thread than the main one none would."""

    def __enter__(self) -> None:
        import threading

        main = threading.current_thread() is threading.main_thread()
        self.before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS if main}

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            if handler is not None:
                signal.signal(number, handler)
