"""More layers in plain NumPy, written when the tracer was done and tried as they were.

They then found faults of the search: a loop over the batch had no value of the whole, a norm whose shift is an
operation of its own was read without it, and so was what followed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import attn_ref as ar
from wild.numpy_traced import mha, weights


class Listed:
    """A list of heads, in a loop, with the softmax of SciPy."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.heads = [{name: weights(12, 4, seed=n + 7 * h) for n, name in enumerate("qkv")} for h in range(3)]
        self.out, self.bias = weights(12, 12, seed=5), weights(12, seed=6)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import softmax

        outs = []
        for p in self.heads:
            q, k, v = x @ p["q"], x @ p["k"], x @ p["v"]
            s = q @ np.swapaxes(k, 1, 2)
            if self.fault != "no scale":
                s = s / 2
            a = softmax(s, axis=1 if self.fault == "softmax over queries" else -1)
            outs.append(a @ v)
        y = np.concatenate(outs[::-1] if self.fault == "heads backwards" else outs, -1)
        return y @ self.out + self.bias


class OneByOne:
    """One sequence of the batch at a time."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.qkv, self.out = weights(12, 36, seed=1), weights(12, 12, seed=2)

    def one(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        q, k, v = (y.reshape(len(x), 3, 4).swapaxes(0, 1) for y in np.hsplit(x @ self.qkv, 3))
        s = np.matmul(q, k.transpose(0, 2, 1)) * (0.25 if self.fault == "scaled twice" else 0.5)
        s = s - s.max(-1, keepdims=True)
        e = np.exp(s)
        p = e / e.sum(-1, keepdims=True)
        y = np.einsum("hqk,hkd->qhd", p, v)
        if self.fault == "features before heads":
            y = y.transpose(0, 2, 1)
        return y.reshape(len(x), 12) @ self.out

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.stack([self.one(a) for a in x])


class Encoder:
    """A whole layer, norms first, of methods with parameters in one dict."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        shapes = {"ln1": (), "ln2": (), "qkv": (12, 36), "o": (12, 12), "up": (12, 20), "down": (20, 12)}
        self.p = {
            name: (weights(*shape, seed=n), weights(shape[1], seed=n + 20)) if shape
            else (1 + weights(12, seed=n), weights(12, seed=n + 20))
            for n, (name, shape) in enumerate(shapes.items())
        }  # fmt: skip

    def norm(self, x: np.ndarray, g: np.ndarray, b: np.ndarray) -> np.ndarray:
        m, v = x.mean(-1, keepdims=True), x.var(-1, keepdims=True, ddof=self.fault == "unbiased variance")
        return (x - m) / np.sqrt(v + 1e-5) * g + b

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.p[name][0] + self.p[name][1]

    def attend(self, x: np.ndarray) -> np.ndarray:
        b, t, c = x.shape
        q, k, v = np.moveaxis(self.linear(x, "qkv").reshape(b, t, 3, 3, 4), 2, 0)
        s = np.einsum("bihd,bjhd->bhij", q, k) / np.sqrt(4)
        s = np.exp(s - s.max(-1, keepdims=True))
        s /= s.sum(-1, keepdims=True)
        return self.linear(np.einsum("bhij,bjhd->bihd", s, v).reshape(b, t, c), "o")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        h = x + self.attend(self.norm(x, *self.p["ln1"]))
        f = np.maximum(self.linear(self.norm(h, *self.p["ln2"]), "up"), 0)
        y = self.linear(f, "down")
        if self.fault == "no residual":
            return y
        return (x if self.fault == "residual of the input" else h) + y


ENCODER = ar.EncoderLayer(width=12, num_heads=3, hidden_width=20, norm_first=True, activation="relu", eps=1e-5)
MORE: list[tuple[Any, ar.Block, dict[str, tuple[str, str, str]], dict[str, str]]] = [
    (Listed, mha(), {
        "no scale": ("attention.scores", "scale-left-out", "s = q @"),
        "softmax over queries": ("attention.weights", "softmax-over-queries", "a = softmax(s"),
        "heads backwards": ("merged", "permuted", "np.concatenate(outs"),
    }, {"project.kernel": "out", "project.bias": "bias"}),
    (OneByOne, mha(use_bias=False), {
        "scaled twice": ("attention.scores", "scale-twice", "s = np.matmul"),
        "features before heads": ("merged", "heads-merged-inside-out", "y.reshape(len(x), 12)"),
    }, {"query.kernel": "qkv[:, 0:12]", "value.kernel": "qkv[:, 24:36]"}),
    (Encoder, ENCODER, {
        "unbiased variance": ("attention_norm", "", "x.var"),
        "no residual": ("fed", "network-residual-left-out", "return x @"),
        "residual of the input": ("fed", "residual-of-layer-input", "(x if self.fault"),
    }, {"attention_norm.offset": "p.ln1.1", "attention.key.bias": "p.qkv.1[12:24]"}),
]  # fmt: skip
