"""An executor that survives what it runs: one worker process for an engine, watched, ended and started again.

What ends a worker, or what it must be ended for, is told as ``Lost``, which has one of the kinds of ``compare.FAULTS``.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from attn_ref.check.worker import GRACE, memory, receive, send

#: seconds that an engine may take to start: importing a framework from a cold disk takes the better part of a minute
START = 300.0
#: bytes by which a worker may grow in a case, and by how much it may have grown between two before it is replaced
MOST, RENEW = 4 << 30, 3 << 29
#: seconds between two looks at a worker that is at work
TICK = 0.1
#: runs in the new process, which has then the paths of this one and nothing of its main module
BOOT = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
    "from attn_ref.check.worker import serve; serve(given['engine'], given['parent'], given['most'])"
)
#: one thread each: the arrays are small, and several engines share the machine
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
#: bytes; glibc gives arrays back to the system and takes them anew, a page at a time, unless it is told to hold these
HELD = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 28), "MALLOC_TOP_PAD_": str(1 << 26),
}  # fmt: skip


class Lost(Exception):
    """A task without a result: the kind of fault, one of ``compare.FAULTS``, and what happened, in words."""

    def __init__(self, fault: str, detail: str) -> None:
        super().__init__(detail)
        self.fault, self.detail = fault, detail


class NotStarted(RuntimeError):
    """The engine does not start, so none of its tasks is run; says why."""


class Worker:
    """A process that takes tasks of an engine, one at a time. Every wait for it has an end."""

    def __init__(self, engine: str) -> None:
        given = {"path": sys.path, "engine": engine, "parent": os.getpid(), "most": 2 * MOST}
        # a session of its own: Ctrl-C reaches the check alone, and what a worker starts is ended with it
        self.process = subprocess.Popen(
            [sys.executable, "-c", BOOT, json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=HELD | os.environ | ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        self.answers: SimpleQueue[tuple[bool, Any] | None] = SimpleQueue()
        Thread(target=self._listen, daemon=True).start()
        self.base: int | None = None

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with suppress(Exception), self.process.stdout as pipe:  # a message that cannot be read is the last one
            while (packed := receive(pipe)) is not None:  # type: ignore[arg-type]
                self.answers.put(pickle.loads(packed))
        self.answers.put(None)

    def started(self) -> Worker:
        """Wait until the engine is there. NotStarted where it does not come."""
        try:
            self._answer(START, "while it started", "to start")
        except Lost as lost:
            self.kill()
            raise NotStarted(lost.detail) from None
        self.base = memory(self.process.pid)
        return self

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], seconds: float) -> Any:
        """What the function returns there. Lost where it does not return within ``seconds``."""
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended, and the answer tells how
            send(self.process.stdin, (function, args))  # type: ignore[arg-type]
        return self._answer(seconds, "in the middle of a case", "for a case (timeout)")

    def _answer(self, seconds: float, when: str, what_for: str) -> Any:
        left, before = seconds, monotonic()
        while True:
            with suppress(Empty):
                if (answer := self.answers.get(timeout=TICK)) is None:
                    raise Lost("ended", f"{self._ending()} {when}")
                fine, result = answer
                if fine:
                    return result
                raise Lost("raised", result)
            now = monotonic()
            # where this process itself was stopped, as by Ctrl-Z, that is not the worker's time
            left, before = left - min(now - before, 1.0), now
            if self.process.poll() is not None:
                self.end()  # what it started may hold its pipe
            elif (grown := self.grown()) > MOST:
                more = f"its process took {grown / 2**20:.0f} MB more than after its start"
                raise Lost("memory", f"{more}, and {MOST / 2**20:.0f} MB are allowed")
            elif left <= 0:
                raise Lost("timeout", f"it took more than {seconds:g} s, all that it has {what_for}")

    def _ending(self) -> str:
        """How the process ended, in words."""
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "its process closed its pipes"
        if code >= 0:
            return f"its process ended with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        said = "as the system does when memory runs out" if -code == signal.SIGKILL else signal.strsignal(-code)
        return f"its process was ended by {name} ({said})"

    def grown(self) -> int:
        """Bytes of memory that it has taken since its start; 0 where the system does not tell."""
        now = memory(self.process.pid) if self.base is not None else None
        return now - self.base if now is not None and self.base is not None else 0

    def end(self) -> None:
        """End it now, and what it started, whoever waits for it."""
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL) if os.name == "posix" else self.process.kill()

    def kill(self) -> None:
        """End it now, and let go of it."""
        self.end()
        self.process.wait()
        with suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """Let it leave, and end it if it does not."""
        with suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        self.kill()


class Apart(Executor):
    """Runs the tasks of an engine in a worker. A future raises Lost where its task cost the worker, or raised there.

    ``timeout``: seconds for a task. ``stop`` ends it at once, whatever it does.
    """

    def __init__(self, engine: str, timeout: float) -> None:
        self.engine, self.timeout = engine, timeout
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._worker: Worker | None = None
        self._closed = False
        self._stopped, self._lock = Event(), Lock()
        # a daemon: whatever becomes of this process, no thread keeps it from ending
        self._thread = Thread(target=self._serve, daemon=True, name=f"attn_ref {engine}")
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if kwargs:
            raise TypeError(f"a task of a worker has no named arguments; got {', '.join(kwargs)}")
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        self._tasks.put((future, fn, args))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; ``cancel_futures`` ends the one that runs, too."""
        if cancel_futures:
            self.stop()
        self._closed = True
        self._tasks.put(None)
        if wait:
            self._thread.join()

    def stop(self) -> None:
        """End the worker now. Tasks that wait are lost."""
        self._stopped.set()
        with self._lock:
            if self._worker:
                self._worker.end()

    def _serve(self) -> None:
        why = self._attempt()
        while (given := self._tasks.get()) is not None:
            future, function, args = given
            if not why:
                why = self._attempt()  # before the task is begun: meanwhile it may be cancelled
            if not future.set_running_or_notify_cancel():
                continue
            if why:
                future.set_exception(NotStarted(why))
                continue
            self._run(future, function, args)
        if self._worker:
            self._worker.close()

    def _attempt(self) -> str:
        """Start a worker where there is none; says why where that fails."""
        try:
            self._start()
        except Exception as error:
            return f"{self.engine} did not start: {error}"
        return ""

    def _start(self) -> None:
        if self._worker:
            return
        with self._lock:
            if self._stopped.is_set():
                raise NotStarted("the check was interrupted")
            self._worker = Worker(self.engine)
        try:
            self._worker.started()
        except NotStarted:
            self._worker = None
            raise

    def _run(self, future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        assert self._worker is not None
        try:
            result = self._worker.call(function, args, self.timeout)
        except Exception as error:
            if not isinstance(error, Lost) or error.fault != "raised":
                self._worker.kill()
                self._worker = None
            future.set_exception(error)
            return
        if self._worker.grown() > RENEW:
            self._worker.close()
            self._worker = None
        future.set_result(result)
