"""Layers of timm, each from its own file as it is published.

``import timm`` needs torchvision, and the one that fits a CPU build of torch is not where tests install from. The files
of single layers need torch alone, so they are imported without what the packages around them import first.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def timm_layer(file: str) -> Any:
    """The module ``timm.layers.<file>``; skips the test where timm is not installed."""
    spec = find_spec("timm") if "timm" not in sys.modules else sys.modules["timm"].__spec__
    if spec is None or spec.origin is None:
        pytest.skip("timm is not installed: pip install --no-deps timm==1.0.31, as make test does")
    root = Path(spec.origin).parent
    for name, folder in (("timm", root), ("timm.layers", root / "layers")):
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__, package.__spec__ = [str(folder)], spec
            sys.modules[name] = package
    return importlib.import_module(f"timm.layers.{file}")
