"""Reading TensorFlow's checkpoints, for the porter. Only variables are read, no object of a checkpoint is built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec, quantised, reading

WHAT = "a TensorFlow checkpoint"
#: what stands behind the path of an object that is a variable
VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"
#: the dtypes that NumPy has too, and bfloat16
KNOWN = {
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16",
    "uint8", "bool",
}  # fmt: skip


def read(path: Path, format: str) -> Checkpoint:
    """The variables of the checkpoint whose ``.index`` is ``path``. Strings, which say how objects hang, are left."""
    with reading(path, WHAT, Exception):
        reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
        shapes = reader.get_variable_to_shape_map()
        dtypes = {name: dtype.name for name, dtype in reader.get_variable_to_dtype_map().items()}
    names: dict[str, str] = {}
    left: dict[str, str] = {}
    for full, dtype in sorted(dtypes.items()):
        name = full.removesuffix(VARIABLE)
        if dtype == "string":
            left[name] = "text"
        elif dtype not in KNOWN:
            rule = f"those that can be moved are {', '.join(sorted(KNOWN))}{quantised(dtype)}"
            raise CheckpointError(f"{path}: {name} has dtype {dtype}; {rule}")
        elif name in names:
            raise CheckpointError(f"{path}: two variables are called {name}")
        else:
            names[name] = full
    specs = {name: Spec(tuple(shapes[full]), dtypes[full]) for name, full in names.items()}

    def load(name: str) -> np.ndarray:
        with reading(path, WHAT, Exception, tensor=name):
            return np.asarray(reader.get_tensor(names[name]))

    return Checkpoint(specs, load, path=path, format=format, left=left)
