"""HDF5 files of weights, seen without Keras: Keras 3's by the paths of the datasets, those of Keras 2 by their layers.

Nothing outside the file is read: soft and external links, external storage and virtual datasets are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Place, Spec, reading
from attn_ref.port.text import parse_json

#: the formats that such a file may be in, whatever its name
KERAS, LEGACY = "keras_h5", "keras_legacy"
#: the attribute of the root group with what attn_ref says about the tensors; Keras does not look at it
METADATA = "attn_ref"
#: where Keras 2 keeps the weights of a model that was saved whole
MODEL = "model_weights"
DEEPEST = 64
WHAT = "Keras weights (HDF5)"


def read_file(path: Path, inside: Any, start: int | None, close: Callable[[], None]) -> Checkpoint:
    """The weights in the file or file object ``inside``, whose bytes begin at ``start`` of ``path``; None: nowhere.

    ``close`` lets go of whatever holds it. What raises is whatever HDF5 raises, or CheckpointError.
    """
    file = h5py.File(inside, "r")

    def ended() -> None:
        file.close()
        close()

    found: dict[str, h5py.Dataset] = {}
    collect(path, file, "", found, set())
    legacy = MODEL in file or "layer_names" in file.attrs
    datasets = by_layers(path, found) if legacy else found
    specs = {name: spec(path, name, dataset) for name, dataset in datasets.items()}
    places = {} if start is None or file.userblock_size else placed(datasets, start)
    metadata = parse_json(str(file.attrs[METADATA]), f"{path}: {METADATA}") if METADATA in file.attrs else {}

    def load(name: str) -> np.ndarray:
        with reading(path, WHAT, Exception, tensor=name):
            array = np.asarray(datasets[name][()])
        if specs[name].dtype != "bfloat16":
            return array
        with reading(path, "bfloat16, which needs ml_dtypes", ImportError, tensor=name):
            import ml_dtypes
        return array.view(ml_dtypes.bfloat16)

    return Checkpoint(
        specs, load, path=path, format=LEGACY if legacy else KERAS, metadata=metadata, close=ended, places=places
    )  # fmt: skip


def by_layers(path: Path, found: Mapping[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    """Keras 2's names: ``layer/weight``, without ``model_weights/`` before them and the ``:0`` behind them."""
    datasets: dict[str, h5py.Dataset] = {}
    for full, dataset in found.items():
        name = full.removeprefix(f"{MODEL}/").removesuffix(":0")
        if name in datasets:
            raise CheckpointError(f"{path}: two weights are called {name}")
        datasets[name] = dataset
    return datasets


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
