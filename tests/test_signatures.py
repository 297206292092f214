"""The constructors of mirrors have the options of their blocks, which a tool writes there."""

from __future__ import annotations

import inspect

import pytest

import attn_ref as ar
from attn_ref.discovery import file_of
from tools.signatures import rewritten, stale


def test_constructors_have_the_options_of_today() -> None:
    assert [str(file) for file, _ in stale()] == [], "python -m tools.signatures writes them"


@pytest.mark.parametrize("package", ["attn_ref_torch", "attn_ref_keras"])
def test_an_option_that_is_missing_or_has_another_default_is_written(package: str) -> None:
    file = file_of("FeedForward", package)
    assert file is not None
    text = file.read_text("utf-8")
    without = text.replace('        activation: str = "relu",\n', "")
    other = text.replace('activation: str = "relu"', 'activation: str = "gelu"').replace("dropout: float = 0.0", "p=1")
    for changed in (without, other):
        assert changed != text
        assert rewritten(changed, ar.FeedForward, package) == text


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
@pytest.mark.parametrize("name", list(ar.blocks()))
def test_signatures_are_those_of_the_block(name: str, engine: str) -> None:
    """Which ``help``, an editor and a type checker read."""
    block = ar.block(name)(**ar.block(name).example)
    wanted = {p.name: (p.default, p.annotation) for p in inspect.signature(type(block)).parameters.values()}
    layer = ar.backend(engine).mirror(block, "float64")
    got = {p.name: (p.default, p.annotation) for p in inspect.signature(layer).parameters.values()}
    kwargs = got.pop("kwargs", None)
    assert (kwargs is not None) == (engine == "tensorflow")
    assert got == wanted
