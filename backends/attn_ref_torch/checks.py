"""Input checks at the door of a mirror."""

from __future__ import annotations

from typing import Any

import torch

from attn_ref.inputs import check_shapes
from attn_ref.kv_cache import decoding


def check(module: Any, **given: Any) -> None:
    """Refuse shapes and dtypes that the block refuses. Not while a compiler traces, which has checked them before.

    Nor in a layer while a model decodes: what it is given there has more keys than queries.
    """
    inside = decoding() and module.block.role in ("attention", "layer")
    if not torch.compiler.is_compiling() and not inside:
        check_shapes(module.block, layout="channels_first", **given)
