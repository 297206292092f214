"""What mirrors promise besides their values: all keep it, and one that breaks a promise is told which."""

from __future__ import annotations

import pytest
from planting import PACKAGES, planted

import attn_ref as ar
from attn_ref.check.contract import hold
from attn_ref.check.drawing import drawn
from attn_ref.check.judge import Outcome

ENGINES = ("torch", "tensorflow")


def held(engine: str, name: str, count: int = 1) -> list[Outcome]:
    """The contract alone, on the first cases that have a batch."""
    found = []
    for case in [case for case in drawn(ar.block(name), engine, "forward", 2 * count, 0) if not case.empty()][:count]:
        outcome = Outcome(case.to_json(), 0.0, "")
        hold(outcome, ar.backend(engine), case.build(), "float64", case.inputs())
        found.append(outcome)
    return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", list(ar.blocks()))
def test_every_mirror_keeps_its_promises(name: str, engine: str) -> None:
    assert [outcome.detail for outcome in held(engine, name)] == [""]


#: engine, module, block, what stands there, what it becomes, the promise
BROKEN = [
    ("torch", "blocks.feed_forward", "FeedForward", 'activation: str = "relu"', 'activation: str = "gelu"', "defaults"),
    ("torch", "blocks.channel_self_attention", "ChannelSelfAttention", "torch.zeros(1)", "torch.ones(1)", "initial"),
    ("torch", "blocks.linear_position_bias", "LinearPositionBias", "persistent=False", "persistent=True", "state dict"),
    ("torch", "blocks.feed_forward", "FeedForward", "self.activation = activation",
     "self.activation = activation; self.f = lambda: 1", "promises: "),
    ("torch", "blocks.feed_forward", "FeedForward", "check(self, x=x)", "pass", "the door"),
    ("tensorflow", "blocks.feed_forward", "FeedForward", "self.check(x=x)", "pass", "the door"),
    ("tensorflow", "blocks.channel_self_attention", "ChannelSelfAttention", 'initializer="zeros"',
     'initializer="zeros", trainable=False', "what trains"),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "module", "block", "old", "new", "promise"), BROKEN, ids=lambda x: str(x)[:20])
def test_a_broken_promise_is_told(engine: str, module: str, block: str, old: str, new: str, promise: str) -> None:
    with planted(f"{PACKAGES[engine]}.{module}", old, new):
        outcome = held(engine, block)[0]
    assert outcome.fault == "contract"
    assert outcome.detail.startswith(promise)


def test_a_torch_mirror_shows_its_options() -> None:
    text = str(ar.backend("torch").build(ar.EncoderLayer(width=8, num_heads=2, hidden_width=12, eps=1e-3)))
    assert "width=8, num_heads=2, hidden_width=12, eps=0.001\n" in text
    assert "(attention): MultiHeadAttention(\n    width=8, num_heads=2\n" in text
