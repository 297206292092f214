"""The functional Keras model around a mirror: what one ships, and what ``.weights.h5`` files of attn_ref belong to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from attn_ref.block import Block
from attn_ref.discovery import find, module_name
from attn_ref.engines import needing
from attn_ref.inputs import Input, resolve, spatial

with needing("attn_ref_keras", "keras"):
    import keras

DTYPES = {"index": "int32", "bool": "bool"}


def functional(
    block: Block,
    dtype: str = "float32",
    *,
    inputs: Collection[str] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Any:
    """A functional ``keras.Model`` of one layer, the mirror of ``block``, its parameters and real inputs of ``dtype``.

    ``inputs`` names those that the model takes, by default all. Those that the block can do without may be None when
    the model is called, but Keras wants their names: ``model({"token_ids": x, "padding_mask": None, …})``; a model that
    is to take fewer is made with ``inputs=("token_ids", "padding_mask")``. Widths that the block fixes are fixed, all
    else is free unless ``sizes`` gives it by label. The names in ``.weights.h5`` files depend on neither.

    Raises ValueError for an input that the block has not, and for one or a width that is left out and needed.
    """
    chosen = list(block.inputs if inputs is None else inputs)
    needed = [name for name, spec in block.inputs.items() if not spec.optional and not spec.default]
    if unknown := [name for name in chosen if name not in block.inputs]:
        raise ValueError(f"{type(block).__name__} has no input {', '.join(unknown)}; it has {', '.join(block.inputs)}")
    if absent := [name for name in needed if name not in chosen]:
        raise ValueError(f"{type(block).__name__} needs the input {', '.join(absent)}")
    if free := [label for label in widths(block) if label not in (sizes or {})]:
        give = ", ".join(f"{label!r}: …" for label in free)
        raise ValueError(f"{type(block).__name__} does not fix {', '.join(free)}; give sizes={{{give}}}")
    mirror = find(type(block).__name__, "attn_ref_keras")
    if mirror is None:
        raise ValueError(f"{type(block).__name__} has no mirror in attn_ref_keras")
    # a name of its own, so that neither summaries nor ``get_layer`` depend on what was made before
    name = module_name(type(block).__name__)
    layer = mirror(**block.fields(), dtype=dtype, name=name)
    tensors = {
        name: keras.Input(
            batch_shape=shape(block, spec, sizes or {}),
            dtype=DTYPES.get(spec.kind, dtype),
            name=name,
            optional=name not in needed,
        )
        for name, spec in block.inputs.items()
        if name in chosen
    }
    return keras.Model(tensors, layer(**tensors), name=f"{name}_model")


def widths(block: Block) -> list[str]:
    """The labels of heads and widths that no field fixes: Keras makes layers before it sees a value."""
    specs = [spec for spec in block.inputs.values() if spec.kind == "real" and not spec.broadcast]
    axes = [axis for spec in specs for axis in (*(a for a in spec.axes if a.startswith("(")), spec.axes[-1])]
    labels = [label for axis in axes if not spatial(axis) for label in axis.strip("()").split()]
    return list(dict.fromkeys(label for label in labels if label[0] != "{"))


def shape(block: Block, spec: Input, sizes: Mapping[str, int]) -> tuple[int | None, ...]:
    """The sizes that are fixed, None for the rest; an axis that may be broadcast is free."""
    return tuple(None if spec.broadcast else resolve(block, axis, sizes) for axis in spec.axes)
