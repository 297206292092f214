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
    "FloatBias": "a bias and a mask that must be given", "EagerDecoder": "angles and a mask that must be given",
    "DecoderPost": "two masks that must be given", "ScaledDotProduct": "heads that are split, and a mask",
}  # fmt: skip
#: layers that are right, and that are refused or told as differing
NOT_READ = {
    "BloomAttention": "it makes a bias of its own",
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
