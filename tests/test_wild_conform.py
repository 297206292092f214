"""Every wild layer of torch is read without a word about it: how it is called, its weights, its masks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

import attn_ref as ar

pytest.importorskip("torch")
from wild.observable import FILES

#: what each shows of the search that no other does; these run every day
SHOWN = {
    "BloomAttention": "a bias of its own that depends on what is hidden",
    "AnnotatedAttention": "a mask of (t, s) that must be given", "LengthFirst": "heads that nobody merges",
    "Cached": "an empty object of the user's class", "GptOss": "sinks", "NonLocalPooled": "a batch norm",
    "NonLocalScaled": "channels first of three axes",
    "ConvMlp": "channels first of one axis", "PaddedGpt": "an argument called padding",
    "FloatBias": "a bias and a mask that must be given", "EagerDecoder": "angles and a mask that must be given",
    "DecoderPost": "two masks that must be given", "ScaledDotProduct": "heads that are split, and a mask",
}  # fmt: skip


def layers() -> list[Any]:
    """Every wild layer of torch; those not of ``SHOWN`` are deep."""
    found = [wild for name, needs in FILES.items() if needs == "torch" for wild in import_module(f"wild.{name}").WILD]
    return [pytest.param(w, id=w.name, marks=[] if w.name in SHOWN else [pytest.mark.deep]) for w in found]


@pytest.mark.parametrize("wild", layers())
def test_a_right_layer_is_read(wild: Any) -> None:
    verdict = ar.conform(wild.build(), wild.block, cases=4)
    assert verdict.ok, str(verdict)
