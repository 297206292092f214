"""What every Keras mirror shares: its configuration is its block's fields; and how one holds others."""

from __future__ import annotations

from typing import Any

import keras

from attn_ref.block import Block
from attn_ref.discovery import find
from attn_ref.inputs import check_shapes
from attn_ref.kv_cache import decoding


class Mirror(keras.layers.Layer):
    """A layer with a ``block``. Sub-layers are made in ``__init__`` and built in ``build``."""

    block: Block

    def get_config(self) -> dict[str, Any]:
        """The layer's own configuration and the block's fields."""
        return {**super().get_config(), **self.block.as_data()["fields"]}

    def check(self, **given: Any) -> None:
        """Refuse shapes and dtypes that the block refuses.

        Not in a layer while a model decodes: what it is given there has more keys than queries.
        """
        if not (decoding() and self.block.role in ("attention", "layer")):
            check_shapes(self.block, **given)


def mirrored(block: Block | None, dtype: Any) -> Any:
    """A new mirror of a block, of a dtype policy; None of none. ValueError where Keras has no mirror."""
    if block is None:
        return None
    mirror = find(type(block).__name__, "attn_ref_keras")
    if mirror is None:
        raise ValueError(f"{type(block).__name__} has no mirror in attn_ref_keras")
    return mirror(**block.fields(), dtype=dtype)
