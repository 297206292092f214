"""More layers as people write them in torch, written when the search was done and tried as they were.

One of them then found a fault of the search: ``1 + weight`` of a parameter that is not known yet.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar


class Cross(nn.Module):
    """Queries by one projection, keys and values by another; heads folded into the batch, as in diffusion models."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.to_q, self.to_kv = nn.Linear(12, 12, bias=False), nn.Linear(10, 24, bias=False)
        self.to_out = nn.Sequential(nn.Linear(12, 12), nn.Dropout(0.1))

    def fold(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        return x.reshape(b, t, 3, c // 3).permute(0, 2, 1, 3).reshape(b * 3, t, c // 3)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        b, t, _ = x.shape
        k, v = self.to_kv(context).chunk(2, -1)
        if self.fault == "keys and values exchanged":
            k, v = v, k
        q, k, v = map(self.fold, (self.to_q(x), k, v))
        sim = torch.baddbmm(torch.zeros((), dtype=x.dtype), q, k.transpose(1, 2), beta=0, alpha=4**-0.5)
        sim = sim.softmax(1) if self.fault == "softmax over queries" else sim.softmax(-1)
        out = torch.bmm(sim, v).reshape(b, 3, t, 4)
        out = out if self.fault == "merged as it lies" else out.permute(0, 2, 1, 3)
        return self.to_out(out.reshape(b, t, 12))


class NonLocal(nn.Module):
    """Embedded Gaussian, by convolutions of size 1, with a residual."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.theta, self.phi, self.g = (nn.Conv2d(12, 6, 1) for _ in range(3))
        self.w = nn.Conv2d(6, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        theta, phi, g = (f(x).flatten(2) for f in (self.theta, self.phi, self.g))
        f = theta.transpose(1, 2) @ phi
        f = f / f.shape[-1] if self.fault == "divided by the number" else f.softmax(-1)
        y = (f @ g.transpose(1, 2)).transpose(1, 2).reshape(b, 6, h, w)
        return self.w(y) if self.fault == "no residual" else x + self.w(y)


class Bert(nn.Module):
    """Attention, its output and the network as modules of their own, post-norm."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.query, self.key, self.value, self.dense = (nn.Linear(12, 12) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(12, eps=1e-12), nn.LayerNorm(12, eps=1e-12)
        self.up, self.down = nn.Linear(12, 20), nn.Linear(20, 12)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(*x.size()[:-1], 3, 4).permute(0, 2, 1, 3)

    def forward(self, hidden: Tensor) -> Tensor:
        q, k, v = self.heads(self.query(hidden)), self.heads(self.key(hidden)), self.heads(self.value(hidden))
        scores = torch.matmul(q, k.transpose(-1, -2))
        scores = scores / math.sqrt(4)
        context = torch.matmul(nn.Softmax(dim=-1)(scores), v).permute(0, 2, 1, 3).contiguous()
        y = self.dense(context.view(*hidden.shape))
        first = self.norm1(y) if self.fault == "no first residual" else self.norm1(y + hidden)
        z = self.down(F.gelu(self.up(first), approximate="tanh" if self.fault == "GELU by tanh" else "none"))
        return self.norm2(z + (hidden if self.fault == "residual of the input" else first))


class NeoX(nn.Module):
    """Attention and network side by side, a norm each."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.one, self.two = nn.LayerNorm(12), nn.LayerNorm(12)
        self.query_key_value, self.dense = nn.Linear(12, 36), nn.Linear(12, 12)
        self.h_to_4h, self.back = nn.Linear(12, 20), nn.Linear(20, 12)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        y = self.query_key_value(self.one(x)).view(b, t, 3, 12)  # per head: query, key, value
        q, k, v = (part.permute(0, 2, 1, 3) for part in y.chunk(3, -1))
        past = torch.full((t, t), torch.finfo(x.dtype).min, dtype=x.dtype).triu(1)
        a = ((q @ k.mT) / 2 + past).softmax(-1) @ v
        a = self.dense(a.permute(0, 2, 1, 3).reshape(b, t, 12))
        read = self.one(x) if self.fault == "one norm for both" else self.two(x)
        return x + a + self.back(F.gelu(self.h_to_4h(read)))


class Gemma(nn.Module):
    """A root mean square norm whose parameter is added to 1."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.weight = nn.Parameter(torch.rand(12) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        square = x.pow(2).sum(-1, True) if self.fault == "sum for mean" else x.pow(2).mean(-1, True)
        y = x * torch.rsqrt(square + 1e-6)
        return y * (1.0 + self.weight)


class Patches(nn.Module):
    """Patches by a convolution with a stride."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.proj = nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.proj(x)
        return (y.transpose(2, 3) if self.fault == "column by column" else y).flatten(2).transpose(1, 2)


class Channels(nn.Module):
    """CBAM's channel attention."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.mlp = nn.Sequential(nn.Conv2d(12, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 12, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        mean, top = self.mlp(x.mean((2, 3), keepdim=True)), self.mlp(x.amax((2, 3), keepdim=True))
        if self.fault == "mean alone":
            return x * mean.sigmoid()
        return x * (mean.sigmoid() + top.sigmoid() if self.fault == "sigmoid of each" else (mean + top).sigmoid())


def blocks() -> list[tuple[type[nn.Module], Any, dict[str, tuple[str, str]]]]:
    """As ``torch_layers.LAYERS``. Where it cannot be seen from outside, "nothing" shows."""
    norm = ar.LayerNorm(width=12)
    attention = ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left")
    network = ar.FeedForward(width=12, hidden_width=20, activation="gelu")
    return [
        (Cross, ar.MultiHeadAttention(width=12, num_heads=3, key_width=10, use_bias=False),
         {"keys and values exchanged": ("nothing", ""),
          "softmax over queries": ("attention.weights", "softmax-over-queries"),
          "merged as it lies": ("merged", "merged-without-transposing")}),
        (NonLocal, ar.NonLocal(channels=12, batch_norm=False, sub_sample=False),
         {"divided by the number": ("weights", "pairing-by-count"),
          "no residual": ("output", "map-shortcut-left-out")}),
        (Bert, ar.EncoderLayer(width=12, num_heads=3, hidden_width=20, activation="gelu", eps=1e-12),
         {"no first residual": ("attended", "attention-residual-left-out"),
          "GELU by tanh": ("feed_forward.active", "gelu-by-tanh"),
          "residual of the input": ("fed", "residual-of-layer-input")}),
        (NeoX, ar.TransformerLayer(width=12, attention=attention, feed_forward=network, norm=norm, parallel="own"),
         {"one norm for both": ("nothing", "")}),
        (Gemma, ar.RMSNorm(width=12, zero_centered=True), {"sum for mean": ("normed", "sum-for-mean")}),
        (Patches, ar.PatchEmbedding(patch=4, channels=3, width=8),
         {"column by column": ("tokens", "patches-by-column")}),
        (Channels, ar.ChannelAttention(channels=12, reduction=4, use_bias=False),
         {"mean alone": ("gate", "mean-alone"), "sigmoid of each": ("gate", "sigmoid-of-each")}),
    ]  # fmt: skip
