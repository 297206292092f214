"""The functional Keras model around a mirror: what one ships, and what ``.weights.h5`` files of attn_ref belong to."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras

from attn_ref.block import Block
from attn_ref.catalogue import find
from attn_ref.inputs import Input, resolve

DTYPES = {"index": "int32", "bool": "bool"}


def functional(block: Block, dtype: str = "float32", *, inputs: Collection[str] | None = None) -> Any:
    """A functional ``keras.Model`` of one layer, the mirror of ``block``, its parameters and real inputs of ``dtype``.

    ``inputs`` names those that the model takes, by default all. Those that the block can do without may be None when the
    model is called, but Keras wants their names: ``model({"token_ids": ids, "padding_mask": mask, "segment_ids": None})``;
    a model that is trained on two of them is better made with ``inputs=("token_ids", "padding_mask")``. Widths that the
    block fixes are fixed, all else is free. The weights do not depend on the choice of inputs.

    Raises ValueError for an input that the block has not, and if one is left out that it needs.
    """
    chosen = list(block.inputs if inputs is None else inputs)
    needed = [name for name, spec in block.inputs.items() if not spec.optional and not spec.default]
    if unknown := [name for name in chosen if name not in block.inputs]:
        raise ValueError(f"{type(block).__name__} has no input {', '.join(unknown)}; it has {', '.join(block.inputs)}")
    if absent := [name for name in needed if name not in chosen]:
        raise ValueError(f"{type(block).__name__} needs the input {', '.join(absent)}")
    mirror = find(type(block).__name__, "attn_ref_keras")
    if mirror is None:
        raise ValueError(f"{type(block).__name__} has no mirror in attn_ref_keras")
    # a name of its own, so that neither summaries nor ``get_layer`` depend on what was made before
    name = keras.src.utils.naming.to_snake_case(type(block).__name__)
    layer = mirror(**block.fields(), dtype=dtype, name=name)
    tensors = {
        name: keras.Input(
            batch_shape=shape(block, spec),
            dtype=DTYPES.get(spec.kind, dtype),
            name=name,
            optional=name not in needed,
        )
        for name, spec in block.inputs.items()
        if name in chosen
    }
    return keras.Model(tensors, layer(**tensors), name=f"{name}_model")


def shape(block: Block, spec: Input) -> tuple[int | None, ...]:
    """The sizes that the block fixes, None for the rest; an axis that may be broadcast is free."""
    return tuple(None if spec.broadcast else resolve(block, axis, {}) for axis in spec.axes)
