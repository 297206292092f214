"""Mixture of experts for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.mixture_of_experts import MixtureOfExperts as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class MixtureOfExperts(Mirror):
    """Mirror of ``attn_ref.MixtureOfExperts``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        hidden_width: int,
        num_experts: int,
        experts_per_token: int,
        weights_over: str = "chosen",
        activation: str = "silu",
        limit: float | None = None,
        shift: float = 0.0,
        use_bias: bool = False,
        router_bias: bool = False,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.experts_per_token, self.weights_over, self.activation = experts_per_token, weights_over, activation
        self.limit, self.shift = limit, shift
        self.gate_kernels = nn.Parameter(torch.empty(num_experts, width, hidden_width))
        self.expand_kernels = nn.Parameter(torch.empty(num_experts, width, hidden_width))
        self.reduce_kernels = nn.Parameter(torch.empty(num_experts, hidden_width, width))
        self.gate_biases = nn.Parameter(torch.zeros(num_experts, hidden_width)) if use_bias else None
        self.expand_biases = nn.Parameter(torch.zeros(num_experts, hidden_width)) if use_bias else None
        self.reduce_biases = nn.Parameter(torch.zeros(num_experts, width)) if use_bias else None
        self.router = nn.Linear(width, num_experts, bias=router_bias)
        for kernels in (self.gate_kernels, self.expand_kernels, self.reduce_kernels):
            bound = kernels.shape[1] ** -0.5  # as in nn.Linear
            nn.init.uniform_(kernels, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        weights = tap("weights", self.shares(tap("logits", self.router(x), "b t n")), "b t n")
        gate = tap("gate", self.each(x[:, :, None], self.gate_kernels, self.gate_biases), "b t n f")
        hidden = tap("hidden", self.each(x[:, :, None], self.expand_kernels, self.expand_biases), "b t n f")
        if self.limit is not None:
            gate, hidden = gate.clamp(max=self.limit), hidden.clamp(-self.limit, self.limit)
        active = tap("active", self.activate(gate), "b t n f")
        gated = tap("gated", active * (hidden + self.shift), "b t n f")
        reduced = tap("reduced", self.each(gated, self.reduce_kernels, self.reduce_biases), "b t n c")
        return tap("mixed", (weights[..., None] * reduced).sum(dim=2), "b t c")

    def shares(self, logits: Tensor) -> Tensor:
        best, chosen = logits.topk(self.experts_per_token, dim=-1)
        if self.weights_over == "chosen":
            return torch.zeros_like(logits).scatter(-1, chosen, best.softmax(dim=-1))
        shares = logits.softmax(dim=-1)
        return torch.zeros_like(logits).scatter(-1, chosen, shares.gather(-1, chosen))

    @staticmethod
    def each(x: Tensor, kernels: Tensor, biases: Tensor | None) -> Tensor:
        """A linear layer of every expert; x (b, t, n or 1, in)."""
        y = (x[..., None, :] @ kernels).squeeze(-2)
        return y if biases is None else y + biases

    def activate(self, x: Tensor) -> Tensor:
        if self.activation == "silu":
            return F.silu(x)
        if self.activation == "quick_gelu":
            return x * torch.sigmoid(1.702 * x)
        if self.activation == "sigmoid":
            return torch.sigmoid(x)
        if self.activation == "relu":
            return F.relu(x)
        return F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")
