"""Evidence of ``MixtureOfExperts``: a scalar loop, faults that must be caught, and the networks of transformers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from evidence import Fault
from oracles import GATED, dense, linear

import attn_ref as ar
from attn_ref.weights import uniform


def oracle(
    w: dict, x: list, *, experts_per_token: int, weights_over: str = "chosen", activation: str = "silu",
    limit: float | None = None, shift: float = 0.0, **_: Any,
) -> list:  # fmt: skip
    """Shazeer et al., equations 1 and 3 to 5: G(x) = softmax of the k largest, y = Σ G(x)ᵢ Eᵢ(x), expert by expert."""
    phi, bound = GATED[activation], math.inf if limit is None else limit

    def expert(i: int, vector: list) -> list:
        def layer(name: str, v: list) -> list:
            return linear(v, w[f"{name}_kernels"][i], w[f"{name}_biases"][i] if f"{name}_biases" in w else None)

        gate = [min(g, bound) for g in layer("gate", vector)]
        hidden = [max(-bound, min(h, bound)) for h in layer("expand", vector)]
        return layer("reduce", [phi(g) * (h + shift) for g, h in zip(gate, hidden, strict=True)])

    def at(vector: list) -> list:
        logits = dense(w, "router", vector)
        chosen = sorted(range(len(logits)), key=lambda i: -logits[i])[:experts_per_token]
        among = chosen if weights_over == "chosen" else range(len(logits))
        total = math.fsum(math.exp(logits[i]) for i in among)
        results = {i: expert(i, vector) for i in chosen}
        return [math.fsum(math.exp(logits[i]) / total * results[i][c] for i in chosen) for c in range(len(vector))]

    return [[at(vector) for vector in sequence] for sequence in x]


FAULTS = [
    Fault(
        "the weights are of all experts, not of the chosen",
        "weights",
        torch=('if self.weights_over == "chosen":', "if False:"),
        reference=('if self.weights_over == "chosen":', "if False:"),
        keras=('if self.weights_over == "chosen":', "if False:"),
    ),
    Fault(
        "one expert only",
        "weights",
        torch=("logits.topk(self.experts_per_token, dim=-1)", "logits.topk(1, dim=-1)"),
        reference=("ops.among_largest(logits, self.experts_per_token)", "ops.among_largest(logits, 1)"),
        keras=("ops.top_k(logits, self.experts_per_token)", "ops.top_k(logits, 1)"),
    ),
    Fault(
        "the least likely experts",
        "weights",
        torch=("best, chosen = logits.topk(self.experts_per_token, dim=-1)",
               "best, chosen = logits.topk(self.experts_per_token, dim=-1, largest=False)"),
        keras=("best, chosen = ops.top_k(logits, self.experts_per_token)",
               "best, chosen = ops.top_k(-logits, self.experts_per_token)"),
    ),
    Fault(
        "no shift of the expansion",
        "gated",
        torch=("(hidden + self.shift)", "hidden"),
        reference=("(hidden + self.shift)", "hidden"),
        keras=("(hidden + self.shift)", "hidden"),
    ),
    Fault(
        "the gate is bounded below, too",
        "active",
        torch=("gate.clamp(max=self.limit)", "gate.clamp(-self.limit, self.limit)"),
        reference=("ops.at_most(gate, self.limit)", "ops.bounded(gate, self.limit)"),
        keras=("ops.minimum(gate, self.limit)", "ops.clip(gate, -self.limit, self.limit)"),
    ),
    Fault(
        "the expansion is not bounded below",
        "gated",
        torch=("hidden.clamp(-self.limit, self.limit)", "hidden.clamp(max=self.limit)"),
        keras=("ops.clip(hidden, -self.limit, self.limit)", "ops.minimum(hidden, self.limit)"),
    ),
    Fault(
        "gate and expansion exchanged",
        "gate",
        torch=("self.each(x[:, :, None], self.gate_kernels", "self.each(x[:, :, None], self.expand_kernels"),
        keras=('self.each("btc,ncf->btnf", x, self.gate_kernels', 'self.each("btc,ncf->btnf", x, self.expand_kernels'),
    ),
    Fault(
        "a sum without weights",
        "mixed",
        torch=("(weights[..., None] * reduced).sum(dim=2)", "reduced.sum(dim=2)"),
        keras=('ops.einsum("btn,btnc->btc", weights,', 'ops.einsum("btn,btnc->btc", ops.ones_like(weights),'),
    ),
]  # fmt: skip


def gpt_oss(w: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Its network, a state of it, and the block's options: gate and expansion lie feature by feature in turn."""
    from transformers.models.gpt_oss.configuration_gpt_oss import GptOssConfig
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssMLP

    config = GptOssConfig(
        hidden_size=6, intermediate_size=5, num_local_experts=4, num_experts_per_tok=2, swiglu_limit=0.5
    )
    both = np.empty((4, 6, 10)), np.empty((4, 10))
    for i, name in enumerate(("gate", "expand")):
        both[0][..., i::2], both[1][..., i::2] = w[f"{name}_kernels"], w[f"{name}_biases"]
    state = {
        "experts.gate_up_proj": both[0], "experts.gate_up_proj_bias": both[1], "experts.down_proj": w["reduce_kernels"],
        "experts.down_proj_bias": w["reduce_biases"], "router.weight": w["router.kernel"].T,
        "router.bias": w["router.bias"],
    }  # fmt: skip
    return GptOssMLP(config), state, GPT_OSS


def mixtral(w: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Its network: all of the gate first."""
    from transformers.models.mixtral.configuration_mixtral import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(hidden_size=6, intermediate_size=5, num_local_experts=4, num_experts_per_tok=2)
    both = np.concatenate([w["gate_kernels"], w["expand_kernels"]], -1).swapaxes(1, 2)
    state = {
        "experts.gate_up_proj": both, "experts.down_proj": w["reduce_kernels"].swapaxes(1, 2),
        "gate.weight": w["router.kernel"].T,
    }  # fmt: skip
    return MixtralSparseMoeBlock(config), state, {}


def qwen3(w: dict[str, Any], normed: bool = False) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Its network, whose weights are of all experts."""
    from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

    config = Qwen3MoeConfig(
        hidden_size=6, moe_intermediate_size=5, num_experts=4, num_experts_per_tok=2, norm_topk_prob=normed
    )
    _, state, _ = mixtral(w)
    return Qwen3MoeSparseMoeBlock(config), state, {} if normed else {"weights_over": "all"}


GPT_OSS = {"activation": "quick_gelu", "limit": 0.5, "shift": 1.0, "use_bias": True, "router_bias": True}


@pytest.mark.parametrize("make", [gpt_oss, mixtral, qwen3, lambda w: qwen3(w, normed=True)])
def test_the_networks_of_transformers_agree(make: Any) -> None:
    """Their routers round to float32 on the way but GPT-OSS's; that is kept from them here."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from attn_ref_torch.hugging_face_language import in_float64

    sizes: dict[str, Any] = {"width": 6, "hidden_width": 5, "num_experts": 4, "experts_per_token": 2}
    x = uniform((2, 3, 6), 1, "x", 0)
    layer, state, options = make({k: 3.0 * v for k, v in ar.MixtureOfExperts(**sizes, **GPT_OSS).init(3).items()})
    block = ar.MixtureOfExperts(**sizes, **options)
    w = {k: 3.0 * v for k, v in ar.MixtureOfExperts(**sizes, **GPT_OSS).init(3).items() if k in block.params()}
    layer = layer.double().eval()
    layer.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()})
    with in_float64():
        got = layer(torch.from_numpy(x))
    got = got[0] if isinstance(got, tuple) else got
    np.testing.assert_allclose(got.numpy().reshape(2, 3, 6), block(w, x), rtol=0, atol=1e-13)
