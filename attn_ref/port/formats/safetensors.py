"""Safetensors: one file, or shards with an index. Written tensor by tensor, so memory stays small."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from attn_ref.places import regular
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Place, Spec, quantised, reading
from attn_ref.port.plain import read_place
from attn_ref.port.pour import pour
from attn_ref.port.shards import ending, join, read_index
from attn_ref.port.text import dump_json, parse_json

NAME = "safetensors"
SUFFIXES = (".safetensors", ".safetensors.index.json")
WRITES = True
#: the format has no pickle and no compression, and the library is written in Rust
APART = False

#: The format's names of dtypes, and NumPy's.
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
CODES = {name: code for code, name in DTYPES.items()}


def read(path: Path) -> Checkpoint:
    """A ``.safetensors`` file, or the shards that a ``.safetensors.index.json`` lists."""
    if not ending(path):
        return read_one(path)
    index = read_index(path)
    joined = join(index, {name: read_one(file) for name, file in index.files.items()})
    joined.format = NAME
    return joined


def read_one(path: Path) -> Checkpoint:
    """One file."""
    regular(path)
    with reading(path, "safetensors", Exception):
        opened = safe_open(str(path), framework="np")  # which looks at the header, and at the size of the file
        told = opened.metadata() or {}
        specs = {key: spec(path, key, opened.get_slice(key)) for key in opened.keys()}  # noqa: SIM118  (no mapping)
        del opened  # which has the file mapped
        places = placed(path, specs)
    ours = parse_json(told["attn_ref"], f"{path}: metadata 'attn_ref'") if "attn_ref" in told else {}

    def load(key: str) -> np.ndarray:
        return read_place(path, key, specs[key], places[key])

    return Checkpoint(specs, load, path=path, format=NAME, metadata=ours, places=places)


def placed(path: Path, specs: Mapping[str, Spec]) -> dict[str, Place]:
    """Where the tensors lie, as the header says that the library has looked at. CheckpointError if it says otherwise.

    The library gives tensors out of a mapped file, whose pages stay in memory.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    places = {}
    for key, spec in specs.items():
        begin, end = header[key]["data_offsets"]
        if end - begin != spec.nbytes or DTYPES[header[key]["dtype"]] != spec.dtype:
            raise CheckpointError(f"{path}: its header says two things of {key}")
        dtype = "<u2" if spec.dtype == "bfloat16" else np.dtype(spec.dtype).newbyteorder("<").str
        places[key] = Place(8 + length + begin, dtype)
    return places


def spec(path: Path, key: str, view: Any) -> Spec:
    """Shape and dtype of a tensor that has not been read."""
    if (code := view.get_dtype()) not in DTYPES:
        raise CheckpointError(
            f"{path}: {key} has dtype {code}; those that can be moved are {', '.join(DTYPES)}{quantised(code)}"
        )
    return Spec(tuple(view.get_shape()), DTYPES[code])


def write(path: Path, tensors: Checkpoint, metadata: Mapping[str, Any], tick: Callable[[str], None]) -> None:
    """Header (length, JSON), then the bytes. Wide dtypes come first, so that every tensor is aligned to its size."""
    if odd := [f"{name} ({spec.dtype})" for name, spec in tensors.specs.items() if spec.dtype not in CODES]:
        raise CheckpointError(f"{path}: safetensors has no such dtype: {', '.join(odd)}")
    # transformers loads no file that does not name a framework
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    if metadata:
        header["__metadata__"]["attn_ref"] = dump_json(metadata)
    order = sorted(tensors.specs, key=lambda name: -tensors.specs[name].itemsize)
    end = 0
    for name in order:
        start, end = end, end + tensors.specs[name].nbytes
        dtype, shape = CODES[tensors.specs[name].dtype], list(tensors.specs[name].shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(start + end)
    pour(path, {name: start + header[name]["data_offsets"][0] for name in order}, tensors, tick)
