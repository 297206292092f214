"""Files that are read in a process of their own (``attn_ref.port.reader``), seen from the porter.

The process finds out what a file holds. Where the bytes of a tensor lie one after another in the file, they are then
read here, within the file's bounds; what is compressed or scattered comes back through a scratch file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.child import command
from attn_ref.port.channel import Silent, receive, send
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Place, Spec
from attn_ref.port.plain import dtype_of, fill, read_place
from attn_ref.port.reader import SECONDS, SPEED
from attn_ref.port.shards import weight_files

#: seconds that the process may take to start, on a machine that is busy
START = 300
#: how much longer than its processor time an answer may take, on a machine that is busy or whose disk is slow
PATIENCE = 5
#: can a process hand on its open files?
POSIX = os.name == "posix"
#: what a process is sent when it has used up its processor time
OUT_OF_TIME = getattr(signal, "SIGXCPU", None)


def read(path: Path, format: str) -> Checkpoint:
    """What ``path`` holds, by the reader of ``format``. CheckpointError that names the file, whatever is in it."""
    files = weight_files(path)
    reader = Reader(path, format)
    try:
        reader.started()
        answer = reader.ask(reader.job, sum(file.stat().st_size for file in files))
        specs = {name: Spec(tuple(shape), dtype) for name, (shape, dtype) in answer["specs"].items()}
        places = {
            name: Place(offset, dtype, tuple(crc) if crc else None, file)  # type: ignore[arg-type]
            for name, (offset, dtype, crc, file) in answer["places"].items()
        }
    except BaseException:
        reader.close()
        raise

    shards = {"": path, **{file.name: file for file in files}}  # what is opened here is chosen here
    places = {name: place for name, place in places.items() if place.file in shards and name in specs}

    def load(name: str) -> np.ndarray:
        if name in places:
            return read_place(shards[places[name].file], name, specs[name], places[name])
        return reader.load(name, specs[name])

    return Checkpoint(
        specs, load, path=path, format=answer["format"], metadata=answer["metadata"], close=reader.close, files=files,
        left=answer["left"], places=places,
    )  # fmt: skip


class Reader:
    """A process that reads one file."""

    def __init__(self, path: Path, format: str) -> None:
        self.path = path
        self.scratch = scratch_file()
        self.process = start(self.scratch)
        self.job = {
            "path": str(path.absolute()), "format": format, "seconds": SECONDS,
            "scratch": self.scratch.fileno() if POSIX else self.scratch.name,
        }  # fmt: skip
        self.questions, self.answers = (pipe.fileno() for pipe in (self.process.stdin, self.process.stdout) if pipe)
        self.close: Callable[[], Any] = weakref.finalize(self, end, self.process, self.scratch)

    def started(self) -> None:
        """Wait until the process is there. RuntimeError if it does not come, which is not the file's doing."""
        try:
            receive(self.answers, START)
        except (Silent, EOFError, OSError, ValueError) as error:
            self.close()
            how = how_ended(self.process.returncode)
            raise RuntimeError(f"{self.path}: the process that is to read it did not start ({how})") from error

    def ask(self, question: dict[str, Any], work: int, tensor: str = "") -> Any:
        """The process's answer. CheckpointError if it refuses, ends, or takes too long over ``work`` bytes."""
        seconds = SECONDS + work / SPEED
        where = f"{self.path}: {tensor}" if tensor else str(self.path)
        try:
            send(self.questions, question)
            answer = receive(self.answers, seconds * PATIENCE)
        except Silent as error:
            self.close()
            raise CheckpointError(
                f"{where}: reading it took longer than {seconds * PATIENCE:.0f} s; is it whole?"
            ) from error
        except (EOFError, OSError, ValueError) as error:
            self.process.wait()
            raise CheckpointError(f"{where}: {ended(self.process.returncode, seconds)}") from error
        if "error" in answer:
            raise CheckpointError(answer["error"])
        return answer

    def load(self, name: str, spec: Spec) -> np.ndarray:
        """A tensor by way of the scratch file."""
        answer = self.ask({"load": name}, spec.nbytes, name)
        if answer["nbytes"] != spec.nbytes:
            raise CheckpointError(f"{self.path}: {name} has {answer['nbytes']} bytes, and {spec.nbytes} were announced")
        array = np.empty(prod(spec.shape), dtype_of(self.path, name, spec))
        self.scratch.seek(0)
        fill(array, self.scratch, name, self.path)
        self.scratch.truncate(0)  # its memory is free again
        return array.reshape(spec.shape)


def start(scratch: Any) -> subprocess.Popen[bytes]:
    """The process, which waits for its job."""
    return subprocess.Popen(
        command("from attn_ref.port.reader import main; main()"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        pass_fds=(scratch.fileno(),) if POSIX else (),
        start_new_session=True,  # Ctrl-C goes to the porter, which ends this process
    )  # fmt: skip


def end(process: subprocess.Popen[bytes], scratch: Any) -> None:
    """Nothing is left of a reader."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    scratch.close()
    if not POSIX:
        os.unlink(scratch.name)


def ended(code: int, seconds: float) -> str:
    """Why a reader ended, in words."""
    if code < 0 and -code == OUT_OF_TIME:
        return f"reading it takes more than {seconds:.0f} s of processor time; is it whole?"
    return (
        f"the library that reads this format crashed on it ({how_ended(code)}); it is corrupt, or made to crash readers"
    )


def how_ended(code: int) -> str:
    """An exit code, or the signal's name."""
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


def scratch_file() -> Any:
    """A file in memory where there is such a thing, in the folder of temporary files elsewhere; ``end`` closes it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("attn_ref"), "w+b", buffering=0)
    if POSIX:
        return tempfile.TemporaryFile(prefix="attn_ref-", buffering=0)
    return tempfile.NamedTemporaryFile(prefix="attn_ref-", buffering=0, delete=False)
