"""Gated feed-forward network for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.gated_feed_forward import GatedFeedForward as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout
from attn_ref_torch.mirror import Mirror


class GatedFeedForward(Mirror):
    """Mirror of ``attn_ref.GatedFeedForward``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        hidden_width: int,
        activation: str = "silu",
        use_bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.activation = activation
        self.gate = nn.Linear(width, hidden_width, bias=use_bias)
        self.expand = nn.Linear(width, hidden_width, bias=use_bias)
        self.reduce = nn.Linear(hidden_width, width, bias=use_bias)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        active = tap("active", self.activate(tap("gate", self.gate(x), "b t f")), "b t f")
        gated = tap("gated", active * tap("hidden", self.expand(x), "b t f"), "b t f")
        return tap("reduced", self.reduce(dropout(self.drop, gated, "b t f")), "b t c")

    def activate(self, x: Tensor) -> Tensor:
        if self.activation == "silu":
            return F.silu(x)
        if self.activation == "sigmoid":
            return torch.sigmoid(x)
        if self.activation == "relu":
            return F.relu(x)
        return F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")
