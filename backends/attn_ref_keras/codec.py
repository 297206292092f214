"""How canonical parameters sit in Keras' leaf layers. Keyed on the type of the leaf, found by attribute path.

Keras' own ``weight.path`` is not used: it holds names such as ``dense_1`` that depend on what was made before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from attn_ref.backend import Slot

#: leaf type -> canonical name -> Keras' attribute; Keras lays all of these out as the reference does
LEAVES: dict[type, dict[str, str]] = {
    keras.layers.Dense: {"kernel": "kernel", "bias": "bias"},
    keras.layers.LayerNormalization: {"scale": "gamma", "offset": "beta"},
    keras.layers.RMSNormalization: {"scale": "scale"},
    keras.layers.Conv1D: {"kernel": "kernel", "bias": "bias"},
    keras.layers.Conv2D: {"kernel": "kernel", "bias": "bias"},
    keras.layers.Conv3D: {"kernel": "kernel", "bias": "bias"},
    keras.layers.BatchNormalization: {
        "scale": "gamma",
        "offset": "beta",
        "mean": "moving_mean",
        "variance": "moving_variance",
    },
    keras.layers.Embedding: {"embedding": "embeddings"},
}


def sublayers(layer: Any) -> Iterator[tuple[str, Any]]:
    """(attribute name, sub-layer), the members of a list as ``name.0``, ``name.1`` …, in order of assignment."""
    for name, value in vars(layer).items():
        if name.startswith("_"):
            continue
        if isinstance(value, keras.layers.Layer):
            yield name, value
        elif isinstance(value, list | tuple):
            yield from ((f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, keras.layers.Layer))


def places(layer: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(canonical name, variable) for all that ``layer`` holds. A layer of another library says its own."""
    if hasattr(layer, "peer"):
        yield from layer.places()
        return
    known: set[int] = set()
    if table := next((LEAVES[kind] for kind in type(layer).__mro__ if kind in LEAVES), None):
        named = {canonical: getattr(layer, attribute) for canonical, attribute in table.items()}
    else:
        named = {name: v for name, v in vars(layer).items() if isinstance(v, keras.Variable) and name[0] != "_"}
    for name, variable in named.items():
        if variable is not None:
            known.add(id(variable))
            yield prefix + name, variable
    for name, sub in sublayers(layer):
        known.update(id(variable) for variable in sub.weights)
        yield from places(sub, f"{prefix}{name}.")
    strays = [v for v in layer.weights if id(v) not in known]
    if strays and not isinstance(layer, keras.layers.Dropout):
        raise TypeError(f"no codec for {type(layer).__name__} at {prefix!r}, which holds {[v.name for v in strays]}")


def slots(layer: Any) -> dict[str, Slot]:
    """Canonical name -> Slot. A mirror that was not built yet is built: its fields tell every width."""
    if hasattr(layer, "peer"):
        return layer.slots()
    if not layer.built and hasattr(layer, "block"):
        layer.build(None)

    def slot(variable: Any) -> Slot:
        return Slot(
            tuple(variable.shape),
            str(variable.dtype),
            lambda: to_numpy(variable),
            variable.assign,
            bool(variable.trainable),
        )

    return {name: slot(variable) for name, variable in places(layer)}


def to_numpy(tensor: Any) -> np.ndarray:
    """A copy as a NumPy array; bfloat16, which NumPy lacks, comes back as float32, which holds it exactly."""
    if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16":  # cast here: TensorFlow's scalars refuse NumPy
        tensor = keras.ops.cast(tensor, "float32")
    return np.array(keras.ops.convert_to_numpy(tensor))
