"""Messages between the porter and the process that reads a file for it: a length of 8 bytes, then JSON."""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

#: bytes; the names, shapes and dtypes of ``MOST`` tensors fit
LARGEST = 256 << 20


class Silent(Exception):
    """No whole message came in time."""


def send(fd: int, message: Any) -> None:
    """Write one message."""
    text = json.dumps(message).encode()
    data = memoryview(len(text).to_bytes(8, "little") + text)
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int, seconds: float | None = None) -> Any:
    """Read one message. EOFError if the other side is gone, ``Silent`` if ``seconds`` pass, ValueError for no message.

    None waits for ever, which is right for the reader: it ends with its parent.
    """
    end = None if seconds is None else time.monotonic() + seconds
    size = int.from_bytes(exactly(fd, 8, end), "little")
    if size > LARGEST:
        raise ValueError(f"a message of {size} bytes; at most {LARGEST} are read")
    return json.loads(exactly(fd, size, end))


def exactly(fd: int, size: int, end: float | None) -> bytes:
    """``size`` bytes from a pipe."""
    parts, missing = [], size
    while missing:
        if (
            end is not None
            and os.name == "posix"
            and not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]
        ):
            raise Silent
        part = os.read(fd, min(missing, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
