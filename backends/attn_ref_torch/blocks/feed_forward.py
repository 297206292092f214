"""Position-wise feed-forward network for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.feed_forward import FeedForward as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout
from attn_ref_torch.mirror import Mirror


class FeedForward(Mirror):
    """Mirror of ``attn_ref.FeedForward``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        hidden_width: int,
        activation: str = "relu",
        use_bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.activation = activation
        self.expand = nn.Linear(width, hidden_width, bias=use_bias)
        self.reduce = nn.Linear(hidden_width, width, bias=use_bias)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        hidden = tap("hidden", self.expand(x), "b t f")
        active = tap("active", self.activate(hidden), "b t f")
        active = dropout(self.drop, active, "b t f")
        return tap("reduced", self.reduce(active), "b t c")

    def activate(self, x: Tensor) -> Tensor:
        if self.activation == "relu":
            return F.relu(x)
        if self.activation == "quick_gelu":
            return x * torch.sigmoid(1.702 * x)
        return F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")
