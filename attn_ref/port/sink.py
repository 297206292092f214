"""A file that HDF5 can write to when the disk is full."""

from __future__ import annotations

from typing import Any


class Sink:
    """A file for HDF5 to write to that never fails: what the system refuses is kept, and raised by ``check``.

    HDF5 whose write fails cannot close its file any more, and crashes when the process ends.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        rest = view
        while rest and self.error is None:
            try:
                rest = rest[self.file.write(rest) :]
            except OSError as error:
                self.error = error
        return len(view)

    def read(self, size: int = -1) -> bytes:  # by which h5py knows a file
        return bytes(self.file.read(size))

    def readinto(self, data: Any) -> int:
        return int(self.file.readinto(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def truncate(self, size: int | None = None) -> int:
        try:
            return int(self.file.truncate(size))
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def flush(self) -> None:
        pass

    def check(self) -> None:
        """Raise what went wrong."""
        if self.error:
            raise self.error
