"""Layers and models of timm, whether torchvision is installed or not."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest


def timm_module(name: str) -> Any:
    """The module ``timm.<name>``; skips the test where timm is not installed."""
    pytest.importorskip("torch")
    if find_spec("timm") is None:
        pytest.skip("timm is not installed: pip install --no-deps timm==1.0.31, as make test does")
    from attn_ref_torch import timm

    return timm.module(name)


def timm_layer(file: str) -> Any:
    """The module ``timm.layers.<file>``."""
    return timm_module(f"layers.{file}")
