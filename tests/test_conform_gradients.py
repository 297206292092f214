"""A layer whose numbers are right and whose gradients are not: which parameter, and the line that detaches it."""

from __future__ import annotations

from typing import Any

import pytest

import attn_ref as ar

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

BLOCK = ar.MultiHeadAttention(width=12, num_heads=3)


class Layer(nn.Module):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault, self.qkv, self.out = fault, nn.Linear(12, 36), nn.Linear(12, 12)
        self.out.bias.requires_grad_(fault != "frozen")

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (3, 4)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        weights = (q @ k.transpose(-1, -2) / 2).softmax(-1)
        if self.fault == "weights detached":
            weights = weights.detach()
        if self.fault == "through NumPy":
            v = torch.from_numpy(v.detach().numpy())
        y = self.out((weights @ v).transpose(1, 2).flatten(2))
        return y.detach() if self.fault == "all detached" else y


def verdict_of(fault: str) -> Any:
    torch.manual_seed(0)
    return ar.conform(Layer(fault), BLOCK, cases=2)


def test_right_gradients_are_counted() -> None:
    layer = Layer()
    before = {name: p.clone() for name, p in layer.named_parameters()}
    verdict = ar.conform(layer, BLOCK, cases=2)
    assert verdict.ok, str(verdict)
    assert verdict.gradients == 5
    assert "the gradients of 5 parameters and inputs are right" in str(verdict)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in layer.named_parameters())


@pytest.mark.parametrize(
    ("fault", "first", "code"),
    [
        ("weights detached", "qkv.weight", "weights.detach()"), ("through NumPy", "qkv.weight", "v.detach().numpy()"),
        ("all detached", "qkv.weight", "y.detach()"),
    ],
)  # fmt: skip
def test_what_is_detached_is_found(fault: str, first: str, code: str) -> None:
    verdict = verdict_of(fault)
    assert not verdict.ok
    assert verdict.first == f"the gradient of {first}"
    assert verdict.trap == "detached"
    assert code in verdict.places[0].line.code


def test_a_frozen_parameter_is_no_fault_and_is_told() -> None:
    verdict = verdict_of("frozen")
    assert verdict.ok, str(verdict)
    assert "parameters that do not train: out.bias" in verdict.notes


def test_gradients_of_keras() -> None:
    ar.backend("tensorflow")
    import keras

    class Detaching(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, fault: bool = False, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.fault, self.wide, self.narrow = fault, keras.layers.Dense(20), keras.layers.Dense(12)

        def call(self, x: Any) -> Any:
            hidden = keras.ops.relu(self.wide(x))
            if self.fault:
                hidden = keras.ops.stop_gradient(hidden)
            return self.narrow(hidden)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "fault": self.fault}

    block = ar.FeedForward(width=12, hidden_width=20, activation="relu")
    right = ar.conform(Detaching(), block, cases=2)
    assert right.ok, str(right)
    assert right.gradients == 5
    wrong = ar.conform(Detaching(True), block, cases=2)
    assert wrong.trap == "detached", str(wrong)
    assert wrong.places[0].line is not None
    assert "stop_gradient" in wrong.places[0].line.code
