"""The worker: the process in which an engine's mirrors run, apart from the check, so that it may die of them.

It takes tasks from its standard input and gives answers on what was its standard output. What mirrors print goes to
standard error. ``attn_ref.check.apart`` starts it, watches it and ends it.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO

#: seconds that a worker gets to leave when its tasks end
GRACE = 2.0
#: when Python looks for cycles: it walks all objects of a framework, which at its own thresholds is a tenth of the time
COLLECT = (50_000, 20, 100)
#: how many bytes say how long a message is
HEAD = 8


def send(pipe: BinaryIO, message: Any) -> None:
    """One message; OSError when nobody is at the other end any more."""
    packed = pickle.dumps(message)
    pipe.write(len(packed).to_bytes(HEAD, "big") + packed)
    pipe.flush()


def receive(pipe: BinaryIO) -> bytes | None:
    """The next message as it was packed; None when there is no other."""
    size = int.from_bytes(pipe.read(HEAD), "big")
    packed = pipe.read(size)
    return packed if size and len(packed) == size else None


def serve(engine: str, parent: int, most: int) -> None:
    """Take the engine, then answer tasks until there are no more. ``most``: bytes by which it may grow at once."""
    tasks_from, answers_to = own_pipes()
    end_with(parent)
    requests: SimpleQueue[bytes | None] = SimpleQueue()
    Thread(target=listen, args=(tasks_from, requests), daemon=True).start()
    served: list[Any] = []  # the backend, once it has started
    own, answer = os.getpid(), answered(lambda: served.append(start(engine, most)), ())
    while os.getpid() == own:  # a mirror may fork, and its copy answers nothing
        try:
            send(answers_to, answer)
        except OSError:  # the check has ended
            os._exit(1)
        if (request := requests.get()) is None:
            return
        answer = answered(task, (request, *served))
    os._exit(0)


def task(packed: bytes, served: Any = None) -> Any:
    """A function and its arguments, as they were sent, on the backend that has started."""
    function, args = pickle.loads(packed)
    if served is not None:
        served.begin_anew()
    return function(*args)


def answered(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any]:
    """(True, what the function returns) or (False, what it raised, in words)."""
    try:
        result = function(*args)
        pickle.dumps(result)
        return True, result
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: nobody but the task raises them here
        return False, f"{type(error).__name__}: {' '.join(str(error).split())}"[:400].removesuffix(": ")


def start(engine: str, most: int) -> Any:
    """Take the engine before anything else imports a framework; returns its backend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from attn_ref.check.kept import folder
    from attn_ref.engines import backend

    gc.set_threshold(*COLLECT)
    served = backend(engine)
    if kept := folder(engine):
        served.keep_compiled(str(kept))
    limit_memory(most)
    return served


def own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the check, out of reach of mirrors: they read nothing, and print to standard error."""
    tasks_from, answers_to = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # the check itself has no standard error
        os.dup2(nothing, 1)
    os.close(nothing)
    return tasks_from, answers_to


def listen(pipe: BinaryIO, requests: SimpleQueue[bytes | None]) -> None:
    """Pass requests on. When they end, so does the process: at once where it is idle, in a moment where it is not."""
    while (request := receive(pipe)) is not None:
        requests.put(request)
    requests.put(None)
    time.sleep(GRACE)
    os._exit(1)


def end_with(parent: int) -> None:
    """On Linux the kernel ends this process when its parent ends, though C may hold it then."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it had ended before
        os._exit(1)


def limit_memory(most: int) -> None:
    """No core files; and on Linux one demand for very much memory is refused before it fills the machine."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if (data := memory(os.getpid(), "VmData")) is not None:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (data + most, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def memory(process: int, which: str = "VmRSS") -> int | None:
    """Bytes of memory that a process has; None where nothing tells."""
    try:
        with open(f"/proc/{process}/status", encoding="utf-8") as lines:
            found = [line.split() for line in lines if line.startswith(which + ":")]
    except OSError:
        return None
    return int(found[0][1]) * 1024 if found else None
