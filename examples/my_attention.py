"""A layer as one writes it, with one fault, which ``attn-ref conform examples/my_attention.py:Mine`` names.

The block: ``--block MultiHeadAttention --set width=8 --set num_heads=2 --set causal=top_left``.
"""

import torch
from torch import Tensor, nn


class Mine(nn.Module):
    """Causal self-attention, one packed projection."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) / width**0.5
        past = torch.ones(t, t, dtype=torch.bool).tril()
        weights = scores.masked_fill(~past, float("-inf")).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, width))
