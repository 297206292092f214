"""The wild layers of NumPy, JAX, flax and Keras compute their blocks, and what is planted in them changes a result."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from wild.observable import NEAR, apart, marked, observe
from wild.observable_more import MORE

FILES = pytest.mark.parametrize(("file", "framework"), MORE.items(), ids=list(MORE))


def layers(file: str, framework: str) -> list[Any]:
    pytest.importorskip(framework, reason=f"{file} needs {framework}, which is not installed")
    return list(import_module(f"wild.{file}").WILD)


@FILES
def test_right_layers_compute_their_blocks(file: str, framework: str) -> None:
    for wild in layers(file, framework):
        inputs = wild.draw(np.random.default_rng(0))
        right = wild.build()
        assert apart(wild(right, inputs), wild.wanted(right, inputs)) < NEAR, wild.name
        assert marked(wild) == [], wild.name


@pytest.mark.deep
@FILES
def test_every_fault_changes_a_result(file: str, framework: str) -> None:
    for wild in layers(file, framework):
        assert observe(wild, cases=6).wrong == [], wild.name
