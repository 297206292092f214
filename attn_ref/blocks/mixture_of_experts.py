r"""Mixture of experts: a router chooses a few gated feed-forward networks for every token, and weighs what they give.

.. math:: Y = \sum_{i \in \text{top}_k(R)} p_i\, E_i(X),\qquad R = X W_r + b_r,\qquad
          p = \operatorname{softmax}_{i \in \text{top}_k(R)}(R)

.. math:: E_i(X) = \bigl(\phi(G) \odot (H + \text{shift})\bigr) W_{2,i} + b_{2,i},\qquad
          G = \min(X W_{g,i} + b_{g,i},\; \text{limit}),\quad
          H = \operatorname{clip}(X W_{1,i} + b_{1,i},\; \pm\text{limit})

b batch, t length, n experts, c width, f hidden width. p is 0 for experts that are not chosen, with
``weights_over="all"`` their share of the softmax over all is lost. Here every expert computes every token, which says
the same; the taps of an expert that is not chosen are there, too.

Differences: implementations compute an expert on its own tokens alone. Mixtral takes the softmax over all experts and
divides what it chose by its sum, which is the softmax over the chosen; Qwen's MoE does so if ``norm_topk_prob``, else
it is "all". GPT-OSS has φ = "quick_gelu", a limit of 7, a shift of 1, and biases; it keeps gate and expansion in one
kernel, feature by feature in turn, where Mixtral has first all of one. Which of two experts with one logit is chosen
frameworks do not say; here it is the first. Experts of a capacity, which drop tokens, and experts that all tokens share
are not expressed.

Source: Shazeer et al. 2017, "Outrageously Large Neural Networks", equations 1 and 3 to 5, without noise; Jiang et al.
2024, "Mixtral of Experts", section 2.1; limit and shift: OpenAI 2025, "gpt-oss-120b & gpt-oss-20b Model Card", by its
published code.

>>> import attn_ref as ar, numpy as np
>>> block = ar.MixtureOfExperts(width=8, hidden_width=24, num_experts=4, experts_per_token=2)
>>> block(block.init(), np.ones((1, 3, 8))).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, dense, option
from attn_ref.tap import tap

#: of the gate, by name
ACTIVATIONS = {"silu": ops.silu, "quick_gelu": ops.quick_gelu, **ops.GATED}


@dataclass(frozen=True, kw_only=True)
class MixtureOfExperts(Block):
    """Router, experts, weighted sum."""

    width: int = option(meaning="width that comes in and out", above=0, witness=6, draw=(5, 8))
    hidden_width: int = option(meaning="width inside an expert", above=0, witness=8, draw=(3, 7))
    num_experts: int = option(meaning="how many experts there are", above=0, witness=5)
    experts_per_token: int = option(meaning="how many of them a token goes through", above=0, witness=1)
    weights_over: str = option(
        default="chosen", choices=("chosen", "all"), witness="all", draw=("chosen", "chosen", "all"),
        meaning='over which experts the softmax of the router is: the "chosen", or "all", so that weights sum to less',
    )  # fmt: skip
    activation: str = option(
        default="silu", choices=tuple(ACTIVATIONS), witness="relu", draw=("silu", *ACTIVATIONS),
        meaning='of the gate: "silu", "quick_gelu" (GPT-OSS), "gelu", "gelu_tanh", "relu" or "sigmoid"',
    )  # fmt: skip
    limit: float | None = option(
        default=None, above=0, witness=0.25, draw=(None, None, 0.75),
        meaning="upper bound of the gate before its activation, and bound of the expansion; None: there is none",
    )  # fmt: skip
    shift: float = option(default=0.0, meaning="what is added to the expansion", witness=1.0, draw=(0.0, 1.0))
    use_bias: bool = option(
        default=False, meaning="have the three linear layers of an expert a bias?", witness=True, draw=(False, True)
    )
    router_bias: bool = option(default=False, meaning="has the router one?", witness=True, draw=(False, True))

    role = "feed-forward"
    inputs = {"x": Input("b t {width}")}
    output_axes = "b t c"
    example = {"width": 8, "hidden_width": 12, "num_experts": 4, "experts_per_token": 2}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.experts_per_token <= self.num_experts,
            f"experts_per_token = {self.experts_per_token} is more than num_experts = {self.num_experts}",
        )

    def params(self) -> dict[str, Param]:
        n, c, f = self.num_experts, self.width, self.hidden_width
        sizes = {"gate": (c, f), "expand": (c, f), "reduce": (f, c)}
        kernels = {f"{name}_kernels": Param((n, *size), "kernel") for name, size in sizes.items()}
        biases = {f"{name}_biases": Param((n, size[1]), "bias") for name, size in sizes.items()}
        return {**kernels, **(biases if self.use_bias else {}), **dense("router", c, n, bias=self.router_bias)}

    @classmethod
    def sample(cls, pick: Pick) -> MixtureOfExperts:
        experts = pick(1, 2, 3, 5)
        return cls(num_experts=experts, experts_per_token=pick(*range(1, min(experts, 3) + 1)), **cls.drawn(pick))

    def forward(self, w: Any, x: Any) -> np.ndarray:
        logits = ops.linear(x, w["router.kernel"], w["router.bias"] if self.router_bias else None)
        logits = tap("logits", logits, "b t n")
        chosen = ops.among_largest(logits, self.experts_per_token)
        if self.weights_over == "chosen":
            weights = ops.softmax(ops.masked(logits, chosen))
        else:
            weights = np.where(chosen, ops.softmax(logits), 0.0)
        weights = tap("weights", weights, "b t n")

        gate = tap("gate", self.linear(w, "gate", x[:, :, None, None]), "b t n f")
        hidden = tap("hidden", self.linear(w, "expand", x[:, :, None, None]), "b t n f")
        if self.limit is not None:
            gate, hidden = ops.at_most(gate, self.limit), ops.bounded(hidden, self.limit)
        active = tap("active", ACTIVATIONS[self.activation](gate), "b t n f")
        gated = tap("gated", active * (hidden + self.shift), "b t n f")
        reduced = tap("reduced", self.linear(w, "reduce", gated[..., None, :]), "b t n c")
        return tap("mixed", ops.matmul(weights[:, :, None], reduced)[:, :, 0], "b t c")

    def linear(self, w: Any, name: str, x: Any) -> Any:
        """A linear layer of every expert; x (b, t, n or 1, 1, in)."""
        y = ops.matmul(x, w[f"{name}_kernels"])[..., 0, :]
        return y + w[f"{name}_biases"] if self.use_bias else y
