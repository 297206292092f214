"""Evidence of ``GatedFeedForward``: a scalar loop, faults that must be caught, and networks of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evidence import Fault
from oracles import gated_feed_forward as oracle

import attn_ref as ar
from attn_ref.weights import uniform

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "gate and expansion exchanged",
        "gated",
        torch=(
            'active * tap("hidden", self.expand(x), "b t f")',
            'self.gate(x) * self.activate(tap("hidden", self.expand(x), "b t f"))',
        ),
        reference=("active * hidden", "gate * ops.GATED[self.activation](hidden)"),
        keras=(
            'active * tap("hidden", self.expand(x), "b t f")',
            'self.gate(x) * self.activate(tap("hidden", self.expand(x), "b t f"))',
        ),
    ),
    Fault(
        "the gate is not activated",
        "active",
        torch=('self.activate(tap("gate", self.gate(x), "b t f"))', 'tap("gate", self.gate(x), "b t f")'),
        keras=('self.activate(tap("gate", self.gate(x), "b t f"))', 'tap("gate", self.gate(x), "b t f")'),
    ),
    Fault(
        "silu without its factor",
        "active",
        torch=("return F.silu(x)", "return torch.sigmoid(x)"),
        keras=("return ops.silu(x)", "return ops.sigmoid(x)"),
    ),
    Fault(
        "added, not multiplied",
        "gated",
        torch=("active * tap(", "active + tap("),
        keras=("active * tap(", "active + tap("),
    ),
]


def llama(torch: Any, width: int, hidden: int, activation: str) -> Any:
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    sizes = {"hidden_size": width, "intermediate_size": hidden, "num_attention_heads": 1}
    return LlamaMLP(LlamaConfig(**sizes, hidden_act=activation))


def gemma(torch: Any, width: int, hidden: int, activation: str) -> Any:
    from transformers.models.gemma.configuration_gemma import GemmaConfig
    from transformers.models.gemma.modeling_gemma import GemmaMLP

    sizes = {"hidden_size": width, "intermediate_size": hidden, "num_attention_heads": 1}
    return GemmaMLP(GemmaConfig(**sizes, hidden_act=activation))


def t5(torch: Any, width: int, hidden: int, activation: str) -> Any:
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5DenseGatedActDense

    told = T5Config(d_model=width, d_ff=hidden, feed_forward_proj=f"gated-{activation}", dropout_rate=0.0)
    told.dense_act_fn = activation
    return T5DenseGatedActDense(told)


NAMES = {"gate": ("gate_proj", "wi_0"), "expand": ("up_proj", "wi_1"), "reduce": ("down_proj", "wo")}


@pytest.mark.parametrize(
    ("make", "activation", "ours"),
    [
        (llama, "silu", "silu"),
        (gemma, "gelu_pytorch_tanh", "gelu_tanh"),
        (t5, "gelu_new", "gelu_tanh"),
        (llama, "gelu", "gelu"),
        (llama, "relu", "relu"),
        (llama, "sigmoid", "sigmoid"),
    ],
)
def test_the_networks_of_transformers_agree(make: Any, activation: str, ours: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    block, x = ar.GatedFeedForward(width=6, hidden_width=10, activation=ours), uniform((2, 3, 6), 1, "x", 0)
    w, layer = block.init(3), make(torch, 6, 10, activation).double().eval()
    names = {name for name, _ in layer.named_parameters()}
    state = {
        f"{theirs}.weight": torch.from_numpy(w[f"{name}.kernel"].T.copy())
        for name, known in NAMES.items()
        for theirs in known
        if f"{theirs}.weight" in names
    }
    layer.load_state_dict(state)
    got = layer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, block(w, x), rtol=0, atol=1e-13)
