"""Wild layers of torch that ``conform`` reads without a word about them, and those that it is known not to read.

A layer that is read must stay so. One that is not is told here with why, and fails here when it is read.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

import attn_ref as ar

pytest.importorskip("torch")
from wild.observable import FILES

#: what each shows of the search that no other does; these run every day
SHOWN = {
    "AnnotatedAttention": "a mask of (t, s) that must be given", "LengthFirst": "heads that nobody merges",
    "Cached": "an empty object of the user's class", "GptOss": "sinks", "NonLocalPooled": "a batch norm",
    "NonLocalScaled": "channels first of three axes",
    "ConvMlp": "channels first of one axis", "PaddedGpt": "an argument called padding",
}  # fmt: skip
#: layers that are right, and that are refused or told as differing
NOT_READ = {
    "BloomAttention": "it makes a bias of its own", "T5Attention": "it makes a bias of its own",
    "DecoderPost": "it must be given two masks of other ranks", "CircularEca": "a ring of channels is no value of it",
    "SelectiveTimm": "its branches share what is split", "Lengths": "it must be given lengths",
    "FloatBias": "it must be given a bias", "ScaledDotProduct": "it takes heads that are split",
    "EagerDecoder": "it must be given angles and a mask", "LlamaBlock": "not understood yet",
    "Gemma2Block": "not understood yet", "SwinV2Block": "not understood yet",
    "PooledSpatial": "its pools lie in another order, and its kernel with them",
}  # fmt: skip


def layers() -> list[Any]:
    """Every wild layer of torch; those not of ``SHOWN`` are deep."""
    found = [wild for name, needs in FILES.items() if needs == "torch" for wild in import_module(f"wild.{name}").WILD]
    return [pytest.param(w, id=w.name, marks=[] if w.name in SHOWN else [pytest.mark.deep]) for w in found]


@pytest.mark.parametrize("wild", layers())
def test_a_right_layer_is_read(wild: Any) -> None:
    try:
        verdict = ar.conform(wild.build(), wild.block, cases=4)
        ok, said = verdict.ok, str(verdict)
    except ValueError as error:
        ok, said = False, str(error)
    assert ok is (wild.name not in NOT_READ), said
