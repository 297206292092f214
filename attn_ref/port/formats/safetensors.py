"""Safetensors: one file, or shards with an index. Written tensor by tensor, so memory stays small."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from attn_ref.places import regular
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec, quantised, reading
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
    specs = {}
    with reading(path, "safetensors", Exception):
        opened = [safe_open(str(path), framework="np")]
        told = opened[0].metadata() or {}
        for key in opened[0].keys():  # noqa: SIM118  (safe_open is no mapping)
            specs[key] = spec(path, key, opened[0].get_slice(key))
    ours = parse_json(told["attn_ref"], f"{path}: metadata 'attn_ref'") if "attn_ref" in told else {}

    def load(key: str) -> np.ndarray:
        if specs[key].dtype == "bfloat16":
            with reading(path, "bfloat16, which needs ml_dtypes", ImportError, tensor=key):
                import ml_dtypes  # noqa: F401  (gives NumPy the dtype)
        with reading(path, "safetensors", SafetensorError, OSError, TypeError, tensor=key):
            return opened[0].get_tensor(key)

    return Checkpoint(specs, load, path=path, format=NAME, metadata=ours, close=opened.clear)


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
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            array = np.ascontiguousarray(tensors[name])
            file.write((array if sys.byteorder == "little" else array.byteswap()).reshape(-1).view(np.uint8).data)
            tick(name)
