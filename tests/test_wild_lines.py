"""Planted faults of wild layers are told at their line: one that is marked, or the first with a wrong number."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

import attn_ref as ar

torch = pytest.importorskip("torch")
from wild import places  # noqa: E402
from wild.corpus import marks  # noqa: E402
from wild.observable import FILES  # noqa: E402

#: layer, fault, the tap; what the way to its line shows that no other does
TOLD = [
    ("EcaModule", "activated", "gate"),  # a step more
    ("Band", "masked after", "attention.masked"),  # a step that comes too late
    ("GptJ", "angles in degrees", "query_rotary.rotated"),  # a table
    ("NonLocalPooled", "rows and columns exchanged", "project"),  # a wrong order, behind which nothing is read off
    ("NonLocalPooled", "norm lost", "normed"),  # the block without one step, which has no weights to be read off
    ("NonLocalPooled", "another eps", "normed"),  # the same, which a kernel that is read off would take in
    ("GptJBlock", "network of the raw input", "feed_forward.expand"),  # another value is taken
    ("Gemma2Attention", "window off by one", "attention.masked"),  # a mask that is a table
    ("LengthFirst", "keys by the query's weight", "key"),  # one projection computed twice
    ("BertAttention", "scale by the width", "attention.scores"),  # a factor
]


def wild(name: str) -> Any:
    """The layer of that name."""
    every = (w for f, needs in FILES.items() if needs == "torch" for w in import_module(f"wild.{f}").WILD)
    return next(w for w in every if w.name == name)


@pytest.mark.parametrize(("name", "fault", "tap"), TOLD, ids=[f"{name}: {fault}" for name, fault, _ in TOLD])
def test_the_line_of_a_fault_is_told(name: str, fault: str, tap: str) -> None:
    layer = wild(name)
    verdict = ar.conform(layer.build(fault), layer.block, cases=4)
    assert not verdict.ok
    line = verdict.places[0].line
    assert line is not None
    assert line.number in {*marks(layer)[fault], *places.shows(layer, fault)}, str(verdict)
    assert verdict.first == tap, str(verdict)


class Idle(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Attention whose causal mask hides nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(12, 36), torch.nn.Linear(12, 12)

    def forward(self, x: Any) -> Any:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 3, 4).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / 2
        scores = scores.masked_fill(torch.zeros(t, t, dtype=torch.bool), -1e9)
        weights = scores.softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, 12))


def test_an_operation_that_does_nothing_is_the_place_of_a_step_left_out() -> None:
    verdict = ar.conform(Idle(), ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left"), cases=2)
    assert (verdict.first, verdict.trap) == ("attention.masked", "causal-left-out")
    line = verdict.places[0].line
    assert line is not None
    assert "masked_fill" in line.code


def test_what_has_no_known_reason_is_told_as_a_formula() -> None:
    layer = wild("EcaModule")
    reason = ar.conform(layer.build("activated"), layer.block, cases=2).places[0].reason
    assert reason is not None
    assert reason.name == "other-step"
    assert "relu(mixed)" in reason.says
