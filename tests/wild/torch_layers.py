"""Layers as people write them in torch, each with the faults that people make.

``fault=""`` is right. Written here, in the styles that are seen in public; no code is copied. ``LAYERS`` says what each
is, and for every fault the taps at which it may show and the names of the reasons that are right, if there are any.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar

WIDTH, HEADS = 12, 3


class Packed(nn.Module):
    """One projection for queries, keys and values, split into three, as in GPT."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = self.c_attn(x).split(WIDTH, dim=2)
        if self.fault == "interleaved heads":
            q, k, v = (y.view(b, t, c // HEADS, HEADS).permute(0, 3, 1, 2) for y in (q, k, v))
        else:
            q, k, v = (y.view(b, t, HEADS, c // HEADS).transpose(1, 2) for y in (q, k, v))
        width = c if self.fault == "scale by the width" else k.size(-1)
        att = q @ k.transpose(-2, -1)
        if self.fault != "no scale":
            att = att / math.sqrt(width)
        if self.fault == "scaled twice":
            att = att / math.sqrt(width)
        past = torch.ones(t, t, dtype=torch.bool).tril(-1 if self.fault == "diagonal hidden" else 0)
        if self.fault == "mask upside down":
            past = past.T
        if self.fault != "not causal":
            att = att.masked_fill(~past, -1e9 if self.fault == "diagonal hidden" else float("-inf"))
        if self.fault == "softmax over queries":
            att = att.softmax(dim=-2)
        elif self.fault == "softmax over heads":
            att = att.softmax(dim=1)
        else:
            att = att.softmax(dim=-1)
        y = att @ (k if self.fault == "keys for values" else v)
        if self.fault == "heads merged in another order":
            return self.c_proj(y.reshape(b, t, c))
        y = y.transpose(1, 2).reshape(b, t, c)
        return y if self.fault == "no projection" else self.c_proj(y)


class Separate(nn.Module):
    """Four linear layers with names, einsum, no mask."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, hidden: Tensor) -> Tensor:
        b, t, _ = hidden.shape
        q = self.q_proj(hidden).reshape(b, t, HEADS, -1)
        k = self.k_proj(hidden).reshape(b, t, HEADS, -1)
        v = self.v_proj(hidden).reshape(b, t, HEADS, -1)
        scores = torch.einsum("bihd,bjhd->bhij", q, k) * q.shape[-1] ** -0.5
        if self.fault == "exponential alone":
            weights = scores.exp()
        elif self.fault == "sigmoid":
            weights = scores.sigmoid()
        else:
            weights = scores.softmax(-1)
        context = torch.einsum("bhij,bjhd->bihd", weights, v)
        if self.fault == "residual inside":
            return self.out_proj(context.reshape(b, t, -1)) + hidden
        return self.out_proj(context.reshape(b, t, -1))


class PerHead(nn.Module):
    """A list of linear layers, three for each head."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        small = WIDTH // HEADS
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Linear(WIDTH, small, bias=False) for _ in range(3)) for _ in range(HEADS)
        )
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for q, k, v in self.heads:
            s = q(x) @ k(x).transpose(1, 2) / math.sqrt(WIDTH // HEADS)
            found.append(s.softmax(1 if self.fault == "softmax over queries" else 2) @ v(x))
        return self.out(torch.cat(found, dim=-1))


class Fused(nn.Module):
    """``F.scaled_dot_product_attention``."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        scale = 0.1 if self.fault == "another scale" else None
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.fault == "causal", scale=scale)
        return self.proj(y.transpose(1, 2).flatten(2))


class Llama(nn.Module):
    """Grouped heads, rotary positions by halves, causal, no biases."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault, self.h, self.g, self.d = fault, 4, 2, 6
        self.q_proj, self.o_proj = nn.Linear(24, 24, bias=False), nn.Linear(24, 24, bias=False)
        self.k_proj, self.v_proj = nn.Linear(24, 12, bias=False), nn.Linear(24, 12, bias=False)

    def turn(self, x: Tensor) -> Tensor:
        base = 500000.0 if self.fault == "another base" else 10000.0
        t = torch.arange(x.shape[2], dtype=x.dtype) + (1 if self.fault == "positions from 1" else 0)
        angles = torch.outer(t, base ** (-torch.arange(0, self.d, 2, dtype=x.dtype) / self.d))
        if self.fault == "pairs are neighbours":
            cos, sin = (y.repeat_interleave(2, -1) for y in (angles.cos(), angles.sin()))
            turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
        else:
            cos, sin = (torch.cat((y, y), -1) for y in (angles.cos(), angles.sin()))
            one, two = x.chunk(2, -1)
            turned = torch.cat((-two, one), -1)
        return x * cos - turned * sin if self.fault == "turned backwards" else x * cos + turned * sin

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.h, self.d).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.g, self.d).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.g, self.d).transpose(1, 2)
        if self.fault != "no positions":
            q, k = self.turn(q), (k if self.fault == "keys do not turn" else self.turn(k))
        if self.fault == "heads tiled":
            k, v = (y.repeat(1, self.h // self.g, 1, 1) for y in (k, v))
        else:
            k, v = (y.repeat_interleave(self.h // self.g, 1) for y in (k, v))
        scores = q @ k.mT * self.d**-0.5
        scores = scores + torch.full((t, t), float("-inf"), dtype=x.dtype).triu(1)
        return self.o_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, -1))


class Mlp(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.fc1, self.fc2 = nn.Linear(WIDTH, 20), nn.Linear(20, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        if self.fault == "GELU by tanh":
            x = F.gelu(x, approximate="tanh")
        elif self.fault == "relu":
            x = F.relu(x)
        elif self.fault == "GELU by a sigmoid":
            x = x * torch.sigmoid(1.702 * x)
        elif self.fault != "no activation":
            x = F.gelu(x)
        return self.fc2(x)


class SwiGlu(nn.Module):
    """Gate, up, down."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.gate_proj, self.up_proj = nn.Linear(WIDTH, 20, bias=False), nn.Linear(WIDTH, 20, bias=False)
        self.down_proj = nn.Linear(20, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        if self.fault == "sigmoid":
            return self.down_proj(gate.sigmoid() * up)
        if self.fault == "added":
            return self.down_proj(F.silu(gate) + up)
        return self.down_proj(F.silu(gate) * up)


class Norm(nn.Module):
    """A layer norm by hand."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.g, self.b = nn.Parameter(torch.rand(WIDTH) + 0.5), nn.Parameter(torch.rand(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        var = x.var(-1, keepdim=True, unbiased=self.fault == "unbiased")
        eps = 1e-3 if self.fault == "another eps" else 1e-5
        root = var.sqrt() + eps if self.fault == "eps outside the root" else (var + eps).sqrt()
        return (x if self.fault == "not centred" else x - mean) / root * self.g + self.b


class Block(nn.Module):
    """Pre-norm, attention of torch, an MLP."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        eps = 1e-6 if fault == "another eps" else 1e-5
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH, eps=eps), nn.LayerNorm(WIDTH, eps=eps)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 20), nn.ReLU() if fault == "relu" else nn.GELU(), nn.Linear(20, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.fault == "post-norm":
            x = self.ln_1(x + self.attn(x, x, x, need_weights=False)[0])
            return self.ln_2(x + self.mlp(x))
        y = self.ln_1(x)
        y = self.attn(y, y, y, need_weights=False)[0]
        x = y if self.fault == "no residual" else x + y
        if self.fault == "residual of the norm":
            normed = self.ln_2(x)
            return normed + self.mlp(normed)
        return x + self.mlp(self.ln_2(x))


class Excite(nn.Module):
    """Squeeze and excitation, channels first, by linear layers."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.fc = nn.Sequential(nn.Linear(WIDTH, 3), nn.ReLU(), nn.Linear(3, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y = x.amax((2, 3)) if self.fault == "maximum for mean" else x.mean((2, 3))
        y = self.fc(y)
        y = F.hardsigmoid(y) if self.fault == "hard sigmoid" else y.sigmoid()
        return x + y[..., None, None] if self.fault == "added" else x * y[..., None, None]


def mha(**options: Any) -> ar.MultiHeadAttention:
    return ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, **options)


LLAMA = ar.MultiHeadAttention(
    width=24, num_heads=4, num_kv_heads=2, use_bias=False, output_bias=False, rotary="half", causal="top_left"
)

#: layer, what it is, {fault: (taps at which it may show, names of reasons)}
LAYERS: list[tuple[type[nn.Module], Any, dict[str, tuple[str, str]]]] = [
    (Packed, mha(causal="top_left"), {
        "scale by the width": ("attention.scores", "scale-by-model-width"),
        "no scale": ("attention.scores", "scale-left-out"),
        "scaled twice": ("attention.scores|attention.masked", "scale-twice"),
        "diagonal hidden": ("attention.masked|attention.weights", "diagonal-hidden"),
        "mask upside down": ("attention.masked|attention.weights", "causal-upside-down"),
        "not causal": ("attention.masked|attention.weights", "causal-left-out"),
        "softmax over queries": ("attention.weights", "softmax-over-queries"),
        "softmax over heads": ("attention.weights", "softmax-over-heads"),
        "keys for values": ("attention.context|value", "shared"),
        "heads merged in another order": ("merged", "merged-without-transposing"),
        "no projection": ("project|projected", "left-out"),
    }),
    (Separate, mha(), {
        "exponential alone": ("attention.weights", "softmax-unnormalised"),
        "sigmoid": ("attention.weights", "sigmoid-weights"),
        "residual inside": ("output", "attention-residual-inside"),
    }),
    (PerHead, mha(use_bias=False), {}),
    (Fused, mha(), {
        "another scale": ("attention.scores", "scale"),
        "causal": ("attention.masked|attention.weights", "causal-added"),
    }),
    (Llama, LLAMA, {
        "another base": ("query_rotary.angles", "rotary-base"),
        "pairs are neighbours": ("query_rotary.rotated", "rotary-pairs"),
        "turned backwards": ("query_rotary.rotated", "rotary-backwards"),
        "keys do not turn": ("key_rotary.rotated", "rotary-keys-left-out"),
        "no positions": ("query_rotary.angles", "rotary-left-out"),
        "heads tiled": ("attention.scores", "heads-tiled"),
    }),
    (Mlp, ar.FeedForward(width=WIDTH, hidden_width=20, activation="gelu"), {
        "GELU by tanh": ("active", "gelu-by-tanh"),
        "relu": ("active", "relu-activation"),
        "GELU by a sigmoid": ("active", "gelu-by-sigmoid"),
        "no activation": ("active", "activation-left-out"),
    }),
    (SwiGlu, ar.GatedFeedForward(width=WIDTH, hidden_width=20), {
        "sigmoid": ("active|gated", "sigmoid-gate"),
        "added": ("gated", "gate-added-to-value"),
    }),
    (Norm, ar.LayerNorm(width=WIDTH), {
        "unbiased": ("normed|scaled", "variance-unbiased"),
        "another eps": ("normed|scaled", "norm-eps-keras"),
        "eps outside the root": ("normed|scaled", "eps-outside-root"),
        "not centred": ("normed|scaled", "not-centred"),
    }),
    (Block, ar.EncoderLayer(width=WIDTH, num_heads=HEADS, hidden_width=20, activation="gelu", norm_first=True), {
        "another eps": ("attention_norm", "norm-eps-vit"),
        "relu": ("feed_forward.active", "relu-activation"),
        "post-norm": ("attention_norm|attention.query", "post-norm-for-pre-norm"),
        "no residual": ("attended", "attention-residual-left-out"),
        "residual of the norm": ("fed", "residual-of-norm"),
    }),
    (Excite, ar.SqueezeExcitation(channels=WIDTH, reduction=4), {
        "maximum for mean": ("squeezed", "squeeze-by-max"),
        "hard sigmoid": ("gate", "hard-sigmoid"),
        "added": ("", "gate-added"),
    }),
]  # fmt: skip
