"""NumPy's ``.npz``, without pickles."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec, reading
from attn_ref.port.text import dump_json, parse_json

NAME = "npz"
SUFFIXES = (".npz",)
WRITES = True

#: the entry with what attn_ref says about the tensors: a 0-dimensional string
METADATA = "__attn_ref__"
ERRORS = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def read(path: Path) -> Checkpoint:
    """An ``.npz`` file. Entries that are no plain arrays are refused."""
    with reading(path, "npz", *ERRORS):
        archive = zipfile.ZipFile(path)
    with reading(path, "npz", *ERRORS):
        if len(set(archive.namelist())) < len(archive.namelist()):
            raise CheckpointError(f"{path}: two entries have the same name")
        specs = {info.filename.removesuffix(".npy"): spec(archive, info) for info in archive.infolist()}

        def load(name: str) -> np.ndarray:
            with reading(path, "npz", *ERRORS), archive.open(f"{name}.npy") as file:
                return npy.read_array(file, allow_pickle=False)

        metadata = {}
        if specs.pop(METADATA, None):
            metadata = parse_json(str(load(METADATA)), f"{path}: {METADATA}")
    return Checkpoint(specs, load, path=path, format=NAME, metadata=metadata, close=archive.close)


def spec(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Spec:
    """Shape and dtype from the header of an entry, whose size must be what the header announces."""
    if not info.filename.endswith(".npy"):
        raise CheckpointError(f"{archive.filename}: {info.filename} is no .npy entry")
    with archive.open(info) as file:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(file)
        announced = file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject or dtype.kind not in "fiubU":
        raise CheckpointError(f"{archive.filename}: {info.filename} holds {dtype}; only plain numbers are read")
    if announced != info.file_size:
        sizes = f"{info.file_size} bytes, its header says {announced}"
        raise CheckpointError(f"{archive.filename}: {info.filename} has {sizes}")
    return Spec(tuple(shape), dtype.name)


def write(path: Path, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]) -> None:
    """Uncompressed, and without times, so that the same tensors give the same file."""
    if odd := [name for name, spec in tensors.specs.items() if spec.dtype == "bfloat16"]:
        raise CheckpointError(f"{path}: npz cannot hold bfloat16 ({odd[0]}, …); write .safetensors instead")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def put(name: str, array: np.ndarray) -> None:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                npy.write_array(file, array, allow_pickle=False)

        for name in tensors:
            put(name, tensors[name])
            tick(name)
        if metadata:
            put(METADATA, np.array(dump_json(metadata)))
