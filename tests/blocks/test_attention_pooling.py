"""Evidence of ``AttentionPooling``: a scalar loop, faults that must be caught where they are, and timm's layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import oracles
import pytest
from evidence import Fault
from timm_layers import timm_layer

import attn_ref as ar
from attn_ref.weights import uniform

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16


def oracle(w: dict, x: list, *, num_heads: int, activation: str, eps: float, **_: Any) -> list:
    """The probe attends to every token; then the network's result of its norm is added."""
    found = []
    for tokens in x:
        own = oracles.below(w, "attention")
        ((z,),) = oracles.multi_head_attention(own, [w["probe"]], [tokens], [tokens], num_heads=num_heads)
        own, normed = oracles.below(w, "feed_forward"), oracles.normed(w, "norm", z, eps)
        ((fed,),) = oracles.feed_forward(own, [[normed]], activation=activation)
        found.append([z[c] + fed[c] for c in range(len(z))])
    return found


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_timm_agrees(activation: str) -> None:
    """``AttentionPoolLatent`` packs key and value; its weights are copied by hand."""
    import torch
    from torch import nn

    block = ar.AttentionPooling(width=12, num_heads=3, hidden_width=24, activation=activation)
    w, x = block.init(1), uniform((2, 5, 12), 1, "x")
    act = partial(nn.GELU, approximate="tanh" if activation == "gelu_tanh" else "none")
    layer = timm_layer("attention_pool").AttentionPoolLatent(
        12, num_heads=3, mlp_ratio=2.0, norm_layer=partial(nn.LayerNorm, eps=1e-6), act_layer=act
    )
    layer = layer.double().eval()
    packed = [np.concatenate([w[f"attention.{n}.{leaf}"].T for n in ("key", "value")]) for leaf in ("kernel", "bias")]
    arrays = {
        "latent": w["probe"][None], "q.weight": w["attention.query.kernel"].T, "q.bias": w["attention.query.bias"],
        "kv.weight": packed[0], "kv.bias": packed[1],
        "proj.weight": w["attention.project.kernel"].T, "proj.bias": w["attention.project.bias"],
        "norm.weight": w["norm.scale"], "norm.bias": w["norm.offset"],
        "mlp.fc1.weight": w["feed_forward.expand.kernel"].T, "mlp.fc1.bias": w["feed_forward.expand.bias"],
        "mlp.fc2.weight": w["feed_forward.reduce.kernel"].T, "mlp.fc2.bias": w["feed_forward.reduce.bias"],
    }  # fmt: skip
    layer.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in arrays.items()})
    with torch.no_grad():
        there = layer(torch.from_numpy(x)).numpy()
    assert np.abs(there - block(w, x)).max() < 1e-14 * np.abs(there).max() * 10


FAULTS = [
    Fault(
        "the residual is the probe",
        "fed",
        reference=('tap("fed", attended + ', 'tap("fed", probe + '),
        torch=('tap("fed", attended + ', 'tap("fed", self.probe + '),
        keras=('tap("fed", attended + ', 'tap("fed", probe + '),
    ),
    Fault(
        "the probe is added to what the attention gives",
        "attended",
        torch=("-1, -1), x), \"b u c\")", "-1, -1), x) + self.probe, \"b u c\")"),
        keras=("x, training=training), \"b u c\")", "x, training=training) + probe, \"b u c\")"),
    ),
    Fault(
        "the network reads what is not normed",
        "feed_forward.hidden",
        torch=("self.feed_forward(normed)", "self.feed_forward(attended)"),
        keras=("self.feed_forward(normed,", "self.feed_forward(attended,"),
    ),
]  # fmt: skip
