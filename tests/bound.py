"""A layer of another library, to be built and run by hand."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import pytest


class Bound:
    """``build(block, weights, dtype)`` and ``run(made, inputs, …)`` of the peer in a module."""

    def __init__(self, module: str) -> None:
        package = module.partition(".")[0]
        foreign: Any = pytest.importorskip(f"{package}.foreign", exc_type=ImportError)
        self.peer = import_module(module).PEER
        self.INPUTS = self.peer.inputs
        self.build, self.run = partial(foreign.build, self.peer), foreign.run
