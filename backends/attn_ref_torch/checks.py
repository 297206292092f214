"""Input checks at the door of a mirror."""

from __future__ import annotations

from typing import Any

import torch

from attn_ref.inputs import check_shapes


def check(module: Any, **given: Any) -> None:
    """Refuse shapes and dtypes that the block refuses. Not while a compiler traces, which has checked them before."""
    if not torch.compiler.is_compiling():
        check_shapes(module.block, layout="channels_first", **given)
