"""Fills a file that is laid out already with the bytes of tensors, several tensors at a time.

What lies in a source's file in the target's order is copied by pieces. What lies there in another order is read whole
and turned by pieces. So a worker holds one tensor at most, and nothing is mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import numpy as np

from attn_ref.port.checkpoint import Checkpoint, Way
from attn_ref.port.plain import cut_short, fill

#: how many tensors are poured at a time; each may have to be in memory
WORKERS = 2
#: bytes that are read and written at a time. For more than this Linux looks for large pages that follow one another,
#: which takes several times as long as the writing where memory is in use
PIECE = 1 << 18
#: bytes that are turned at a time; they stay in the processor's cache until they are written
SLAB = 4 << 20
#: how many numbers are turned at a time along the target's last axis: about a line of the processor's cache
RUN = 16


def pour(path: Path, offsets: Mapping[str, int], tensors: Checkpoint, tick: Callable[[str], None]) -> None:
    """Write every tensor to its offset in the file ``path``, little-endian; ``tick(name)`` after each.

    What has a way is poured by several workers. The rest needs more memory and comes afterwards, one by one.
    """
    ways = {name: way for name in offsets if (way := tensors.way(name)) is not None}
    together(path, offsets, ways, tick)
    with open(path, "r+b", buffering=0) as target:
        for name in [name for name in offsets if name not in ways]:
            target.seek(offsets[name])
            put(target, tensors[name])
            tick(name)


def together(path: Path, offsets: Mapping[str, int], ways: Mapping[str, Way], tick: Callable[[str], None]) -> None:
    """Pour what has a way. What a worker raises is raised here, and so are signals; then no worker is left."""
    names, done, stop = SimpleQueue[str](), SimpleQueue[str | BaseException](), Event()
    for name in ways:
        names.put(name)

    largest = max((way.nbytes for way in ways.values() if way.view), default=0)

    def work() -> None:
        try:
            with open(path, "r+b", buffering=0) as target:
                worker = Worker(target, stop, largest)
                while not stop.is_set():
                    name = names.get_nowait()
                    worker.pour(name, ways[name], offsets[name])
                    done.put(name)
        except Empty:
            pass
        except BaseException as error:
            done.put(error)

    workers = [Thread(target=work, daemon=True) for _ in range(min(WORKERS, len(ways)))]
    try:
        for worker in workers:
            worker.start()
        for _ in ways:
            if isinstance(found := done.get(), BaseException):
                raise found
            tick(found)
    finally:
        stop.set()
        for worker in workers:
            worker.join()


class Worker:
    """One that pours tensors into an open file. It has room for the largest that it turns, and for what is turned."""

    def __init__(self, target: Any, stop: Event, largest: int) -> None:
        self.target, self.stop = target, stop
        self.room, self.slab = np.empty(max(PIECE, largest), np.uint8), np.empty(SLAB, np.uint8)

    def pour(self, name: str, way: Way, offset: int) -> None:
        """Bring one tensor to ``offset``."""
        self.target.seek(offset)
        with open(way.path, "rb", buffering=0) as source:
            source.seek(way.offset)
            if way.view is None:
                self.copy(name, way, source)
            else:
                put(self.target, way.view(self.read(name, way, source)), self.slab, self.stop)

    def copy(self, name: str, way: Way, source: Any) -> None:
        """Its bytes, as they are."""
        left, room = way.nbytes, self.room[:PIECE].data
        while left and not self.stop.is_set():
            got = source.readinto(room[: min(left, PIECE)])
            if not got:
                raise cut_short(name, way.path)
            pass_on(self.target, room[:got])
            left -= got

    def read(self, name: str, way: Way, source: Any) -> np.ndarray:
        """The whole of it."""
        array = self.room[: way.nbytes].view(way.dtype).reshape(way.shape)
        fill(array, source, name, way.path)
        return array


def put(target: Any, array: np.ndarray, slab: np.ndarray | None = None, stop: Event | None = None) -> None:
    """The numbers of ``array`` in order, little-endian, where ``target`` stands. ``slab``: ``SLAB`` bytes of memory."""
    if array.dtype.kind == "V":  # bfloat16
        array = array.view(f"u{array.itemsize}")
    array = merged(array)
    last = array.dtype.newbyteorder("<")
    if array.flags.c_contiguous and array.dtype == last:
        pass_on(target, array.reshape(-1).view(np.uint8).data)
        return
    slab = np.empty(SLAB, np.uint8) if slab is None else slab
    for piece in pieces(array):
        if stop and stop.is_set():
            return
        into = slab[: piece.nbytes].view(last).reshape(piece.shape)
        turn(into, piece)
        pass_on(target, into.reshape(-1).view(np.uint8).data)


def pass_on(target: Any, data: memoryview) -> None:
    """Write all of it."""
    while data:
        data = data[target.write(data[:PIECE]) :]


def merged(array: np.ndarray) -> np.ndarray:
    """The same numbers in the same order, seen with as few axes as there can be."""
    shape: list[int] = []
    step = 0
    for size, stride in zip(array.shape, array.strides, strict=True):
        if size == 1:
            continue
        if shape and step == size * stride:
            shape[-1] *= size
        else:
            shape.append(size)
        step = stride
    return array.reshape(shape)  # a view, since the axes follow one another


def pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array in parts that follow one another, each of at most ``SLAB`` bytes."""
    if array.nbytes <= SLAB:
        yield array
        return
    row = array.nbytes // len(array)
    if row > SLAB:
        for part in array:
            yield from pieces(part)
        return
    rows = SLAB // row
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def turn(into: np.ndarray, array: np.ndarray) -> None:
    """``into[...] = array``, which NumPy does several times as slowly where neither is read or written in order.

    It writes runs along the last axis, each number of which comes from another line of the cache. So few are taken at
    a time, and the lines are still in the cache for the next numbers along the axis on which the source is in order.
    """
    last = array.ndim - 1
    if array.ndim < 2 or abs(array.strides[last]) == min(map(abs, array.strides)):
        into[...] = array
        return
    for start in range(0, array.shape[last], RUN):
        into[..., start : start + RUN] = array[..., start : start + RUN]
