"""Reads one file of a stranger's in a process of its own, whose time and memory have limits.

It takes a message ``{"path", "format", "scratch"}`` on its standard input and answers
with what the file holds, or with ``{"error"}``. Then each message ``{"load": name}`` has it put the bytes of a tensor
into the scratch file. It ends with its parent. HDF5 and decoders of streams are written in C: a corrupt file can crash
them or keep them busy for ever, and no check in Python comes before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.port.channel import receive, send
from attn_ref.port.checkpoint import EXPANSION, SMALL, Checkpoint, CheckpointError
from attn_ref.port.formats import formats
from attn_ref.port.shards import weight_files

#: bytes that reading a file may take beyond the file and the largest tensor
ROOM = 1 << 30
#: seconds of processor time for each answer, and bytes that a second more is given for
SECONDS, SPEED = 60, 20 << 20


def main() -> None:
    """Serve one file. What libraries print goes to standard error, so that it disturbs no message."""
    answers = os.dup(1)
    os.dup2(2, 1)
    with suppress(EOFError, BrokenPipeError):  # when the parent is gone
        serve(0, answers)
    os._exit(0)  # HDF5 may crash once more on a corrupt file when it is closed


def serve(questions: int, answers: int) -> None:
    """Answer what comes, until nothing comes any more."""
    send(answers, {"ready": True})
    job = receive(questions)
    path = Path(job["path"])
    try:
        module = formats()[job["format"]]
        module.prepare(path)  # what its imports take is not the file's doing
        limits, size = Limits(job["seconds"]), sum(file.stat().st_size for file in weight_files(path))
        limits.grant(2 * size, size)
        checkpoint = module.read(path)
        check(checkpoint, size)
    except Exception as error:
        send(answers, {"error": said(path, error)})
        return
    largest = max((spec.nbytes for spec in checkpoint.specs.values()), default=0)
    with checkpoint, open(job["scratch"], "r+b", buffering=0) as scratch:
        send(answers, described(checkpoint))
        while True:
            name = receive(questions)["load"]
            limits.grant(2 * size + 3 * largest, checkpoint.specs[name].nbytes)
            try:
                array = checkpoint[name]
                put(array, scratch)
                send(answers, {"nbytes": array.nbytes})
            except Exception as error:
                send(answers, {"error": said(path, error)})


def described(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the parent is told."""
    return {
        "specs": {name: [list(spec.shape), spec.dtype] for name, spec in checkpoint.specs.items()},
        "metadata": checkpoint.metadata,
        "places": {name: list(place) for name, place in checkpoint.places.items()},
        "format": checkpoint.format,
        "left": checkpoint.left,
    }


def check(checkpoint: Checkpoint, size: int) -> None:
    """CheckpointError if what the file announces has no relation to its size."""
    total = sum(spec.nbytes for spec in checkpoint.specs.values())
    if total > max(SMALL, EXPANSION * size):
        rule = f"at most {EXPANSION} times its size is read, or {SMALL >> 20} MB"
        name, spec = max(checkpoint.specs.items(), key=lambda item: item[1].nbytes)
        raise CheckpointError(
            f"{checkpoint.path} has {size} bytes and announces {total}, {spec.nbytes} of them for {name}; {rule}"
        )


def said(path: Path, error: Exception) -> str:
    """The refusal in words."""
    if isinstance(error, CheckpointError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            f"{path}: reading it takes more memory than it may ({ROOM >> 20} MB beyond its size and its largest tensor)"
        )
    why = " ".join(str(error).split()) or type(error).__name__
    return f"{path} cannot be read: {type(error).__name__}: {why}; is it complete?"


def put(array: np.ndarray, scratch: Any) -> None:
    """The bytes of ``array``, in order, at the start of the scratch file."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    scratch.seek(0)
    while data:
        data = data[scratch.write(data) :]


class Limits:
    """Limits that the system holds this process to, where it can: address space, processor time, no core dumps."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.before = seconds, address_space()

    def grant(self, nbytes: int, work: int) -> None:
        """From now on ``nbytes`` and ``ROOM`` more than at the start, and time for ``work`` bytes."""
        try:
            import resource
        except ImportError:  # not on Windows: the parent's clock is the only limit there
            return
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        soft = {resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: int(used + self.seconds + work / SPEED) + 1}
        if self.before:
            soft[resource.RLIMIT_AS] = self.before + ROOM + nbytes
        for kind, value in soft.items():
            hard = resource.getrlimit(kind)[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (most, hard))


def address_space() -> int:
    """The bytes of address space that are taken now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0
