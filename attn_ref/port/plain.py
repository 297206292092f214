"""Tensors whose bytes lie in a file one after another, read without the library of its format."""

from __future__ import annotations

import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.port.checkpoint import CheckpointError, Place, Spec


def dtype_of(path: Path, name: str, spec: Spec) -> np.dtype[Any]:
    """NumPy's dtype for ``spec``; bfloat16 is that of ml_dtypes."""
    if spec.dtype != "bfloat16":
        return np.dtype(spec.dtype)
    try:
        import ml_dtypes
    except ImportError as error:
        raise CheckpointError(f"{path}: {name} is bfloat16, which needs ml_dtypes: pip install ml_dtypes") from error
    return np.dtype(ml_dtypes.bfloat16)


def read_place(path: Path, name: str, spec: Spec, place: Place) -> np.ndarray:
    """A tensor whose bytes lie in the file one after another."""
    dtype = dtype_of(path, name, spec) if spec.dtype == "bfloat16" else np.dtype(place.dtype)
    array = np.empty(prod(spec.shape), dtype)
    with open(path, "rb", buffering=0) as file:
        file.seek(place.offset)
        fill(array, file, name, path)
    if place.crc and zlib.crc32(array.view(np.uint8).data, place.crc[0]) != place.crc[1]:
        raise CheckpointError(f"{path}: {name} has another CRC-32 than the file says; it is damaged")
    return array.reshape(spec.shape)


def fill(array: np.ndarray, file: Any, name: str, path: Path) -> None:
    """Read the bytes of ``array``, which is contiguous. CheckpointError if the file has not enough of them."""
    data = array.reshape(-1).view(np.uint8).data
    while data:
        got = file.readinto(data)
        if not got:
            raise cut_short(name, path)
        data = data[got:]


def cut_short(name: str, path: Path) -> CheckpointError:
    """The error of a file that has fewer bytes than it said."""
    return CheckpointError(f"{path}: {name} ends beyond the end of the file; is it complete?")
