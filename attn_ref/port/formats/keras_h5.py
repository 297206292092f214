"""Keras 3's ``.weights.h5``, and the one inside a ``.keras`` archive. Read and written as HDF5; Keras is not imported.

A name is the path of a dataset, such as ``layers/text_encoder/token/vars/0``. Nothing outside the file is read: soft
and external links, external storage and virtual datasets are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec, reading
from attn_ref.port.text import dump_json, parse_json

NAME = "keras_h5"
SUFFIXES = (".weights.h5", ".keras")
WRITES = True

#: the attribute of the root group with what attn_ref says about the tensors; Keras does not look at it
METADATA = "attn_ref"
#: a tensor may be this many times larger than what is stored of it: a file of a few bytes can announce terabytes
EXPANSION = 1000
DEEPEST = 64
ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, zipfile.BadZipFile, NotImplementedError)


def read(path: Path) -> Checkpoint:
    """A ``.weights.h5`` file, or the weights in a ``.keras`` archive; ``load_model`` is never called."""
    with reading(path, "Keras weights (HDF5)", *ERRORS), ExitStack() as stack:
        inside = stack.enter_context(weights_of(path, stack)) if path.name.endswith(".keras") else path
        file = stack.enter_context(h5py.File(inside, "r"))
        datasets: dict[str, h5py.Dataset] = {}
        collect(path, file, "", datasets, [])
        specs = {name: spec(path, name, dataset) for name, dataset in datasets.items()}
        metadata = parse_json(str(file.attrs[METADATA]), f"{path}: {METADATA}") if METADATA in file.attrs else {}
        close = stack.pop_all().close

    def load(name: str) -> np.ndarray:
        with reading(path, "Keras weights (HDF5)", *ERRORS):
            array = datasets[name][()]
        if specs[name].dtype != "bfloat16":
            return np.asarray(array)
        with reading(path, "bfloat16, which needs ml_dtypes", ImportError):
            import ml_dtypes
        return np.asarray(array).view(ml_dtypes.bfloat16)

    return Checkpoint(specs, load, path=path, format=NAME, metadata=metadata, close=close)


def weights_of(path: Path, stack: ExitStack) -> Any:
    """The file ``model.weights.h5`` inside a ``.keras`` archive."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    info = archive.getinfo("model.weights.h5")
    if info.file_size > EXPANSION * max(1, info.compress_size):
        raise CheckpointError(f"{path}: its weights unpack from {info.compress_size} to {info.file_size} bytes")
    return archive.open(info)


def collect(path: Path, group: h5py.Group, prefix: str, found: dict[str, h5py.Dataset], above: list[Any]) -> None:
    """Put the datasets below ``group`` into ``found`` by path, following nothing that leaves the file."""
    above = [*above, group.id]
    if len(above) > DEEPEST:
        raise CheckpointError(f"{path}: groups lie more than {DEEPEST} deep at {prefix!r}")
    for name in group:
        full = f"{prefix}{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise CheckpointError(f"{path}: {full} is a {type(link).__name__}; links are not followed")
        member = group[name]
        if isinstance(member, h5py.Group):
            if member.id in above:
                raise CheckpointError(f"{path}: {full} contains itself")
            collect(path, member, f"{full}/", found, above)
        elif isinstance(member, h5py.Dataset):
            found[full] = member
        else:
            raise CheckpointError(f"{path}: {full} is a {type(member).__name__}; only groups and datasets are read")


def spec(path: Path, name: str, dataset: h5py.Dataset) -> Spec:
    """Shape and dtype of a dataset that lies in the file, and is not larger than what is stored lets one expect."""
    if dataset.external or dataset.is_virtual:
        raise CheckpointError(f"{path}: {name} is stored in another file, which is not read")
    dtype = "bfloat16" if dataset.attrs.get("dtype") == "bfloat16" else dataset.dtype.newbyteorder("=").name
    if dataset.dtype.kind not in "fiub" and not (dtype == "bfloat16" and dataset.dtype.itemsize == 2):
        raise CheckpointError(f"{path}: {name} holds {dataset.dtype}; only plain numbers are read")
    result, stored = Spec(tuple(dataset.shape), dtype), dataset.id.get_storage_size()
    if result.nbytes > EXPANSION * max(1, stored):
        raise CheckpointError(f"{path}: {name} announces {result.nbytes} bytes and stores {stored}")
    return result


def write(path: Path, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]) -> None:
    """Every tensor as a dataset, as Keras does."""
    with h5py.File(path, "w") as file:
        if metadata:
            file.attrs[METADATA] = dump_json(metadata)
        for name in tensors:
            dataset = file.create_dataset(name, data=tensors[name])
            if tensors.specs[name].dtype == "bfloat16":  # which HDF5 lacks: it has two bytes, and Keras this note
                dataset.attrs["dtype"] = "bfloat16"
            tick(name)
