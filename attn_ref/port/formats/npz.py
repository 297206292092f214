"""NumPy's ``.npz``, without pickles."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from attn_ref.port.archive import members, stored_at
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Place, Spec, reading
from attn_ref.port.text import dump_json, parse_json

NAME = "npz"
SUFFIXES = (".npz",)
WRITES = True
#: broken streams keep decoders busy, and a few bytes unpack to gigabytes
APART = True

#: the entry with what attn_ref says about the tensors: a 0-dimensional string
METADATA = "__attn_ref__"
#: bytes that the header of an entry may have
HEADER = 1 << 16


def prepare(path: Path) -> None:
    """Nothing is left to import."""


class Header(NamedTuple):
    """What stands before the numbers of an entry."""

    spec: Spec
    dtype: np.dtype[Any]
    fortran: bool
    raw: bytes


def read(path: Path) -> Checkpoint:
    """An ``.npz`` file. Entries that are no plain arrays are refused."""
    with reading(path, "npz", Exception):
        archive = zipfile.ZipFile(path)
        infos = {entry_name(path, name): info for name, info in members(path, archive).items()}
        headers = {}
        for name, info in infos.items():
            with reading(path, "npz", Exception, tensor=name), archive.open(info) as file:
                headers[name] = header(path, name, info, file)
        told = headers.pop(METADATA, None)
        for name, head in headers.items():
            if head.dtype.kind not in "fiub":
                raise CheckpointError(f"{path}: {name} holds {head.dtype}; only plain numbers are read")

    def load(name: str) -> np.ndarray:
        with reading(path, "npz", Exception, tensor=name), archive.open(infos[name]) as file:
            array = npy.read_array(file, allow_pickle=False)
            while file.read(1 << 16):  # to the end, where the CRC-32 is looked at
                pass
            return array

    metadata = {}
    if told:
        if told.dtype.kind != "U" or told.spec.shape:
            raise CheckpointError(f"{path}: {METADATA} holds {told.dtype} {told.spec.shape}; it should be one string")
        metadata = parse_json(str(load(METADATA)), f"{path}: {METADATA}")
    places = {name: place for name, head in headers.items() if (place := placed(archive, infos[name], head))}
    specs = {name: head.spec for name, head in headers.items()}
    return Checkpoint(specs, load, path=path, format=NAME, metadata=metadata, close=archive.close, places=places)


def entry_name(path: Path, member: str) -> str:
    """The tensor's name."""
    if not member.endswith(".npy"):
        raise CheckpointError(f"{path}: {member} is no .npy entry")
    return member.removesuffix(".npy")


def header(path: Path, name: str, info: zipfile.ZipInfo, file: IO[bytes]) -> Header:
    """The header of an entry, whose size must be what the header announces."""
    raw = file.read(8)
    version = npy.read_magic(BytesIO(raw))
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise CheckpointError(f"{path}: {name} has version {version} of the .npy format; 1.0, 2.0 and 3.0 are read")
    width = 2 if version == (1, 0) else 4
    raw += file.read(width)
    (length,) = struct.unpack("<H" if width == 2 else "<I", raw[8:])
    if length > HEADER:
        raise CheckpointError(f"{path}: {name} has a header of {length} bytes; at most {HEADER} are read")
    raw += file.read(length)
    text = BytesIO(raw[8:])
    parse = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = parse(text)
    if dtype.hasobject:
        raise CheckpointError(f"{path}: {name} holds {dtype}; only plain numbers are read")
    announced = len(raw) + prod(shape) * dtype.itemsize
    if announced != info.file_size or min(shape, default=0) < 0:
        raise CheckpointError(f"{path}: {name} has {info.file_size} bytes, its header says {announced}")
    return Header(Spec(tuple(int(size) for size in shape), dtype.newbyteorder("=").name), dtype, fortran, raw)


def placed(archive: zipfile.ZipFile, info: zipfile.ZipInfo, head: Header) -> Place | None:
    """Where the numbers of an entry lie, if they lie there as they are."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or (head.fortran and len(head.spec.shape) > 1):
        return None
    start = stored_at(archive, info) + len(head.raw)
    return Place(start, head.dtype.str, (zlib.crc32(head.raw), info.CRC))


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
