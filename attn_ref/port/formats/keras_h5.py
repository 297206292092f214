"""Keras 3's ``.weights.h5``, its shards, and the one inside a ``.keras`` archive. Read and written as HDF5.

A name is the path of a dataset, such as ``layers/text_encoder/token/vars/0``. Of an archive nothing is read but the
weights: ``load_model``, which builds what the configuration in it says, is never called.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from attn_ref.port.archive import members, room, stored_at
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec, reading
from attn_ref.port.hdf5 import KERAS, METADATA, WHAT, read_file
from attn_ref.port.pour import pour
from attn_ref.port.shards import ending, join, read_index
from attn_ref.port.sink import Sink
from attn_ref.port.text import dump_json

NAME = KERAS
SUFFIXES = (".weights.h5", ".keras", ".weights.json")
WRITES = True
#: the library that reads it is written in C, and a corrupt file can crash it
APART = True

#: the member of a .keras archive with the weights
WEIGHTS = "model.weights.h5"


def prepare(path: Path) -> None:
    """Nothing is left to import."""


def read(path: Path) -> Checkpoint:
    """A ``.weights.h5`` file, the shards that a ``.weights.json`` lists, or the weights in a ``.keras`` archive."""
    if not ending(path):
        return read_one(path)
    index = read_index(path)
    joined = join(index, {name: read_one(file) for name, file in index.files.items()}, group)
    joined.format = NAME
    return joined


def read_one(path: Path) -> Checkpoint:
    """One file."""
    with reading(path, WHAT, Exception), ExitStack() as stack:
        inside, start = weights_of(path, stack) if path.name.endswith(".keras") else (path, 0)
        return read_file(path, inside, start, stack.pop_all().close)


def group(name: str) -> str:
    """The entry of Keras' index for a dataset: its group, from the root."""
    return f"/{name.rpartition('/')[0]}"


def weights_of(path: Path, stack: ExitStack) -> tuple[Any, int | None]:
    """The file ``model.weights.h5`` inside a ``.keras`` archive, and where it begins there; None if compressed."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    info = members(path, archive).get(WEIGHTS)
    if info is None:
        raise CheckpointError(f"{path} has no member {WEIGHTS}; is it an archive that Keras 3 saved?")
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        return stack.enter_context(archive.open(info)), stored_at(archive, info)
    room(path, info)
    # to look around in a compressed stream takes for ever
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    with archive.open(info) as member:
        shutil.copyfileobj(member, copy, 1 << 20)
    return copy, None


def write(path: Path, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]) -> None:
    """Every tensor as a dataset, as Keras does. HDF5 lays the file out, and the numbers are poured into it."""
    offsets = {}
    with open(path, "w+b", buffering=0) as target:
        sink = Sink(target)
        with h5py.File(sink, "w") as file:
            if metadata:
                file.attrs[METADATA] = dump_json(metadata)
            for name, spec in tensors.specs.items():
                offset = laid_out(file, name, spec)
                if offset is not None:
                    offsets[name] = offset
                sink.check()
        sink.check()
    pour(path, offsets, tensors, tick)


def laid_out(file: h5py.File, name: str, spec: Spec) -> int | None:
    """Make a dataset without numbers. Where they go in the file; None if there are none."""
    kept = np.dtype("V2" if spec.dtype == "bfloat16" else spec.dtype).newbyteorder("<")
    how, link = h5py.h5p.create(h5py.h5p.DATASET_CREATE), h5py.h5p.create(h5py.h5p.LINK_CREATE)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    how.set_obj_track_times(False)  # so that the same tensors give the same file
    link.set_create_intermediate_group(True)
    link.set_char_encoding(h5py.h5t.CSET_UTF8)
    space = h5py.h5s.create_simple(spec.shape) if spec.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(kept, logical=True), space, how, link)
    if spec.dtype == "bfloat16":  # which HDF5 lacks: it has two bytes, and Keras this note
        h5py.Dataset(made).attrs["dtype"] = "bfloat16"
    offset: int | None = made.get_offset()
    if offset is None and spec.nbytes:
        raise CheckpointError(f"HDF5 has no place yet for {name}, which has {spec.nbytes} bytes")
    return offset
