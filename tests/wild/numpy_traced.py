"""Layers as people write them in plain NumPy, each with the faults that people make.

``fault=""`` is right. Written here; no code is copied. ``LAYERS``: (layer, block, fault -> (tap, reason, text that the
line has)).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import attn_ref as ar

WIDTH, HEADS, HIDDEN = 12, 3, 20


def weights(*shape: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) / shape[0] ** 0.5).astype(np.float32)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


class Packed:
    """One projection for all three, as in GPT, in float32, a mask of −∞."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.params = {
            "attn": {"w": weights(WIDTH, 3 * WIDTH, seed=1), "b": weights(3 * WIDTH, seed=2)},
            "proj": [weights(WIDTH, WIDTH, seed=3), weights(WIDTH, seed=4)],
        }

    def __call__(self, x: np.ndarray) -> np.ndarray:
        b, t, c = x.shape
        qkv = x @ self.params["attn"]["w"] + self.params["attn"]["b"]
        q, k, v = (y.reshape(b, t, HEADS, c // HEADS).transpose(0, 2, 1, 3) for y in np.split(qkv, 3, axis=-1))
        scale = np.sqrt(c if self.fault == "scale by the width" else c // HEADS)
        scores = q @ k.swapaxes(-1, -2) / scale
        if self.fault != "not causal":
            scores = np.where(np.tril(np.ones((t, t), bool)), scores, -np.inf)
        att = softmax(scores, axis=-2 if self.fault == "softmax over queries" else -1)
        y = att @ (k if self.fault == "keys for values" else v)
        if self.fault != "heads merged in another order":
            y = y.transpose(0, 2, 1, 3)
        merged = y.reshape(b, t, c)
        w, bias = self.params["proj"]
        return merged @ w + bias


class Looped:
    """A loop over heads that writes into an array made before, and masks in place."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.wq, self.wk, self.wv, self.wo = (weights(WIDTH, WIDTH, seed=n) for n in range(4))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        b, t, c = x.shape
        d = c // HEADS
        q, k, v = x.dot(self.wq), x.dot(self.wk), x.dot(self.wv)
        out = np.zeros((b, t, c))
        for h in range(HEADS):
            at = slice(h * d, (h + 1) * d)
            scores = np.einsum("bqd,bkd->bqk", q[..., at], k[..., at])
            scores /= d if self.fault == "divided by the width of a head" else d**0.5
            if self.fault != "not causal":
                scores[:, np.triu(np.ones((t, t), bool), 0 if self.fault == "diagonal hidden" else 1)] = -1e9
            weight = np.exp(scores - scores.max(-1, keepdims=True))
            if self.fault != "not normalised":
                weight /= weight.sum(-1, keepdims=True)
            out[..., at] = weight @ v[..., at]
        return out @ self.wo


class Elements:
    """Scalar loops over queries and keys, on arrays that NumPy made anew."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.w = [weights(4, 4, seed=n) for n in range(4)]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        q, k, v = (np.asarray(x @ w) for w in self.w[:3])
        scores = np.empty((len(x), x.shape[1], x.shape[1]))
        for i in range(x.shape[1]):
            for j in range(x.shape[1]):
                scores[:, i, j] = (q[:, i] * k[:, j]).sum(-1)
        if self.fault != "no scale":
            scores *= 0.5
        p = np.asarray(softmax(scores, 1 if self.fault == "softmax over queries" else 2))
        mixed = np.zeros(x.shape)
        for i in range(x.shape[1]):
            for j in range(x.shape[1]):
                mixed[:, i] += p[:, i, j, None] * v[:, i if self.fault == "value of the query" else j]
        return np.asarray(mixed) @ self.w[3]


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def forward(params: dict[str, Any], x: np.ndarray, fault: str = "") -> np.ndarray:
    h = x @ params["up"]["kernel"] + params["up"]["bias"]
    if fault != "no activation":
        h = np.maximum(h, 0) if fault == "relu" else gelu(h)
    y = h @ params["down"]["kernel"]
    return y if fault == "no bias" else y + params["down"]["bias"] * (2 if fault == "bias twice" else 1)


def network(fault: str = "") -> Callable[[np.ndarray], np.ndarray]:
    """A function of parameters, with them given."""
    params = {
        "up": {"kernel": weights(WIDTH, HIDDEN, seed=1), "bias": weights(HIDDEN, seed=2)},
        "down": {"kernel": weights(HIDDEN, WIDTH, seed=3), "bias": weights(WIDTH, seed=4)},
    }
    return partial(forward, params, fault=fault)


def rms(fault: str = "") -> Callable[[np.ndarray], np.ndarray]:
    """A closure over its scale."""
    gamma = 1 + weights(WIDTH, seed=5)

    def norm(x: np.ndarray, eps: float = 1e-6) -> np.ndarray:
        if fault == "centred":
            x = x - x.mean(-1, keepdims=True)
        axis = -2 if fault == "over tokens" else -1
        square = (x**2).sum(axis, keepdims=True) if fault == "sum of squares" else np.mean(x**2, axis, keepdims=True)
        if fault == "eps outside":
            return x / (np.sqrt(square) + 1e-3) * gamma
        return x / np.sqrt(square + eps) * gamma

    return norm


class Excite:
    """Squeeze and excitation, channels first."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.down, self.up = weights(2, 8, seed=1), weights(8, 2, seed=2)
        self.b1, self.b2 = weights(2, seed=3), weights(8, seed=4)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        s = x.max(axis=(2, 3)) if self.fault == "the largest" else x.mean(axis=(2, 3))
        h = s @ self.down.T + self.b1
        h = np.tanh(h) if self.fault == "tanh" else np.maximum(h, 0)
        z = h @ self.up.T + self.b2
        gate = softmax(z) if self.fault == "softmax" else 1 / (1 + np.exp(-z))
        return x + gate[:, :, None, None] if self.fault == "added" else x * gate[:, :, None, None]


def mha(**options: Any) -> ar.MultiHeadAttention:
    return ar.MultiHeadAttention(**{"width": WIDTH, "num_heads": HEADS, **options})


LAYERS: list[tuple[Callable[[str], Any], ar.Block, dict[str, tuple[str, str, str]]]] = [
    (Packed, mha(causal="top_left"), {
        "scale by the width": ("attention.scores", "scale-by-model-width", "/ scale"),
        "not causal": ("attention.weights|attention.masked", "causal-left-out", ""),
        "softmax over queries": ("attention.weights", "softmax-over-queries", "x - x.max(axis"),
        "keys for values": ("value", "shared", "for y in np.split(qkv"),
        "heads merged in another order": ("merged", "merged-without-transposing", "y.reshape(b, t, c)"),
    }),
    (Looped, mha(causal="top_left", use_bias=False), {
        "divided by the width of a head": ("attention.scores", "scale-twice", "scores /= d"),
        "not causal": ("attention.weights|attention.masked", "causal-left-out", ""),
        "diagonal hidden": ("attention.masked|attention.weights", "diagonal-hidden", ""),
        "not normalised": ("attention.weights", "softmax-undivided", "weight @ v"),
    }),
    (Elements, mha(width=4, num_heads=1, use_bias=False), {
        "no scale": ("attention.scores", "scale-left-out", ""),
        "softmax over queries": ("attention.weights", "softmax-over-queries", "x - x.max(axis"),
        "value of the query": ("attention.context", "", "mixed[:, i] +="),
    }),
    (network, ar.FeedForward(width=WIDTH, hidden_width=HIDDEN, activation="gelu_tanh"), {
        "no activation": ("active", "activation-left-out", ""),
        "relu": ("active", "relu-activation", "np.maximum"),
    }),
    (rms, ar.RMSNorm(width=WIDTH, eps=1e-6), {
        "centred": ("normed", "layer-for-rms", "x - x.mean(-1"),
        "over tokens": ("normed", "rms-over-tokens", "np.mean(x**2, axis"),
        "sum of squares": ("normed", "sum-for-mean", "x / np.sqrt(square + eps)"),
        "eps outside": ("normed", "", "1e-3"),
    }),
    (Excite, ar.SqueezeExcitation(channels=8, reduction=4), {
        "the largest": ("squeezed", "squeeze-by-max", "x.max"),
        "tanh": ("active", "activation", "np.tanh"),
        "softmax": ("gate", "softmax-gate", ""),
        "added": ("excited", "gate-added", "x + gate"),
    }),
]  # fmt: skip
