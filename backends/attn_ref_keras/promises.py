"""What a Keras layer promises besides its values."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from attn_ref.block import Block
from attn_ref.doors import taken
from attn_ref_keras.functional import functional, widths

KINDS = {"bool": "bool", "index": "int32"}


def promises(backend: Any, block: Block, dtype: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Promise -> how it is broken, empty where it is kept."""
    with warnings.catch_warnings():  # Keras tells of the mask that is tried here
        warnings.simplefilter("ignore")
        return kept(backend, block, dtype, inputs)


def kept(backend: Any, block: Block, dtype: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The same."""
    layer = backend.load(backend.build(block, dtype), {n: x.astype(dtype) for n, x in block.init(0).items()})
    given = {
        name: keras.ops.convert_to_tensor(x, KINDS.get(block.inputs[name].kind, dtype)) for name, x in inputs.items()
    }
    output = to_numpy(layer(**given))
    return {
        "configuration": configuration(layer),
        "implicit mask": implicit(layer, given, output),
        "functional model": in_model(block, dtype, inputs),
        "the door": taken(layer, given, block, inputs),
    }


def to_numpy(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(x, "float64")))


def configuration(layer: Any) -> str:
    """Does a layer made of the configuration, as a file holds it, have the same options?"""
    again = type(layer).from_config(json.loads(json.dumps(layer.get_config())))
    return "" if again.block == layer.block else f"gives {again.block}, not {layer.block}"


def implicit(layer: Any, given: Mapping[str, Any], output: np.ndarray) -> str:
    """A mask that Keras hands on beside a tensor has no meaning here: the definition has masks as inputs."""
    first = next(iter(given))
    if not keras.backend.is_float_dtype(given[first].dtype) or len(given[first].shape) < 3:
        return ""
    x = given[first] + 0.0
    try:
        x._keras_mask = keras.ops.zeros(x.shape[:2], "bool")
    except AttributeError:  # a tensor of JAX takes no attributes
        return ""
    again = to_numpy(layer(**{**given, first: x}))
    return "" if np.array_equal(again, output, equal_nan=True) else "changes the result"


def in_model(block: Block, dtype: str, inputs: Mapping[str, np.ndarray]) -> str:
    """Does a functional model take any batch, where the block has one?"""
    if block.output_axes.split()[0] != "b":
        return ""
    sizes = dict.fromkeys(widths(block), 2)
    model = functional(block, dtype, inputs=list(inputs), sizes=sizes)
    return "" if model.output_shape[0] is None else f"its batch is fixed to {model.output_shape[0]}"
