"""Keras 3's ``.weights.h5``, and the one inside a ``.keras`` archive. Read and written as HDF5; Keras is not imported.

A name is the path of a dataset, such as ``layers/text_encoder/token/vars/0``. Nothing outside the file is read: soft
and external links, external storage and virtual datasets are refused.
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
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Place, Spec, reading
from attn_ref.port.sink import Sink
from attn_ref.port.text import dump_json, parse_json

NAME = "keras_h5"
SUFFIXES = (".weights.h5", ".keras")
WRITES = True
#: the library that reads it is written in C, and a corrupt file can crash it
APART = True

#: the attribute of the root group with what attn_ref says about the tensors; Keras does not look at it
METADATA = "attn_ref"
#: the member of a .keras archive with the weights
WEIGHTS = "model.weights.h5"
DEEPEST = 64
WHAT = "Keras weights (HDF5)"


def prepare(path: Path) -> None:
    """Nothing is left to import."""


def read(path: Path) -> Checkpoint:
    """A ``.weights.h5`` file, or the weights in a ``.keras`` archive; ``load_model`` is never called."""
    with reading(path, WHAT, Exception), ExitStack() as stack:
        inside, start = weights_of(path, stack) if path.name.endswith(".keras") else (path, 0)
        file = stack.enter_context(h5py.File(inside, "r"))
        datasets: dict[str, h5py.Dataset] = {}
        collect(path, file, "", datasets, set())
        specs = {name: spec(path, name, dataset) for name, dataset in datasets.items()}
        places = {} if start is None or file.userblock_size else placed(datasets, start)
        metadata = parse_json(str(file.attrs[METADATA]), f"{path}: {METADATA}") if METADATA in file.attrs else {}
        close = stack.pop_all().close

    def load(name: str) -> np.ndarray:
        with reading(path, WHAT, Exception, tensor=name):
            array = np.asarray(datasets[name][()])
        if specs[name].dtype != "bfloat16":
            return array
        with reading(path, "bfloat16, which needs ml_dtypes", ImportError, tensor=name):
            import ml_dtypes
        return array.view(ml_dtypes.bfloat16)

    return Checkpoint(specs, load, path=path, format=NAME, metadata=metadata, close=close, places=places)


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


def collect(path: Path, group: h5py.Group, prefix: str, found: dict[str, h5py.Dataset], seen: set[Any]) -> None:
    """Put the datasets below ``group`` into ``found`` by path, following nothing that leaves the file."""
    info = h5py.h5o.get_info(group.id)
    if (info.fileno, info.addr) in seen:  # 50 groups, each linked twice in the one before, have 2⁵⁰ paths
        raise CheckpointError(f"{path}: the group {prefix!r} is linked twice, or contains itself")
    seen.add((info.fileno, info.addr))
    if prefix.count("/") > DEEPEST:
        raise CheckpointError(f"{path}: groups lie more than {DEEPEST} deep at {prefix!r}")
    for name in group:
        full = f"{prefix}{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise CheckpointError(f"{path}: {full} is a {type(link).__name__}; links are not followed")
        member = group[name]
        if isinstance(member, h5py.Group):
            collect(path, member, f"{full}/", found, seen)
        elif isinstance(member, h5py.Dataset):
            found[full] = member
        else:
            raise CheckpointError(f"{path}: {full} is a {type(member).__name__}; only groups and datasets are read")


def spec(path: Path, name: str, dataset: h5py.Dataset) -> Spec:
    """Shape and dtype of a dataset that lies in the file and holds plain numbers."""
    if dataset.external or dataset.is_virtual:
        raise CheckpointError(f"{path}: {name} is stored in another file, which is not read")
    kept, said = dataset.dtype, dataset.attrs.get("dtype")
    bfloat16 = isinstance(said, str) and said == "bfloat16"
    if bfloat16 and (kept.kind != "V" or kept.itemsize != 2 or kept.names):  # two bytes that HDF5 has no name for
        raise CheckpointError(f"{path}: {name} says that it is bfloat16, and is stored as {kept}")
    if (kept.kind not in "fiub" and not bfloat16) or dataset.shape is None:
        raise CheckpointError(f"{path}: {name} holds {kept}; only plain numbers are read")
    return Spec(tuple(dataset.shape), "bfloat16" if bfloat16 else kept.newbyteorder("=").name)


def placed(datasets: Mapping[str, h5py.Dataset], start: int) -> dict[str, Place]:
    """Where the datasets lie whose bytes are as NumPy has them, without chunks and filters."""
    found = {}
    for name, dataset in datasets.items():
        offset = dataset.id.get_offset()
        plain = dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype, logical=True)
        if plain and offset is not None and dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS:
            found[name] = Place(start + offset, dataset.dtype.str)
    return found


def write(path: Path, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]) -> None:
    """Every tensor as a dataset, as Keras does."""
    with open(path, "w+b", buffering=0) as target:
        sink = Sink(target)
        with h5py.File(sink, "w") as file:
            if metadata:
                file.attrs[METADATA] = dump_json(metadata)
            for name in tensors:
                dataset = file.create_dataset(name, data=tensors[name])
                if tensors.specs[name].dtype == "bfloat16":  # which HDF5 lacks: it has two bytes, and Keras this note
                    dataset.attrs["dtype"] = "bfloat16"
                sink.check()
                tick(name)
        sink.check()
