"""Layers as people write them in JAX, each with the faults that people make.

``fault=""`` is right. Written here; no code is copied. ``LAYERS``: (layer, block, fault -> (tap, reason, text that the
line has)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import attn_ref as ar

WIDTH, HEADS, HIDDEN = 12, 3, 20


def weights(*shape: int, seed: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) / shape[0] ** 0.5, jnp.float32)


@partial(jax.jit, static_argnames=("fault",))
def gpt(params: dict[str, Any], x: Array, fault: str = "") -> Array:
    b, t, c = x.shape
    qkv = x @ params["attn"]["w"] + params["attn"]["b"]
    q, k, v = (y.reshape(b, t, HEADS, c // HEADS).transpose(0, 2, 1, 3) for y in jnp.split(qkv, 3, axis=-1))
    width = c if fault == "scale by the width" else c // HEADS
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / jnp.sqrt(width)
    mask = jnp.tril(jnp.ones((t, t), bool))
    if fault != "not causal":
        scores = jnp.where(mask.T if fault == "mask upside down" else mask, scores, -jnp.inf)
    att = jax.nn.softmax(scores, axis=-2 if fault == "softmax over queries" else -1)
    y = att @ v
    if fault != "heads merged in another order":
        y = y.transpose(0, 2, 1, 3)
    merged = y.reshape(b, t, c)
    return merged @ params["proj"]["w"] + params["proj"]["b"]


def packed(fault: str = "") -> Callable[[Array], Array]:
    """A compiled function of parameters, with them given."""
    params = {
        "attn": {"w": weights(WIDTH, 3 * WIDTH, seed=1), "b": weights(3 * WIDTH, seed=2)},
        "proj": {"w": weights(WIDTH, WIDTH, seed=3), "b": weights(WIDTH, seed=4)},
    }
    return partial(gpt, params, fault=fault)


class Heads:
    """Heads one after the other by ``lax.scan``, the method compiled."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.qkv = weights(HEADS, 3, WIDTH, WIDTH // HEADS, seed=1)
        self.out = weights(WIDTH, WIDTH, seed=2)

    @partial(jax.jit, static_argnums=0)
    def __call__(self, x: Array) -> Array:
        def head(carry: None, w: Array) -> tuple[None, Array]:
            q, k, v = x @ w[0], x @ w[1], x @ w[2]
            if self.fault == "keys and values exchanged":
                k, v = v, k
            scores = jnp.einsum("bqd,bkd->bqk", q, k)
            scores = scores / (WIDTH // HEADS if self.fault == "divided by the width of a head" else 2.0)
            p = jnp.exp(scores) if self.fault == "not normalised" else jax.nn.softmax(scores)
            return carry, p @ v

        _, y = lax.scan(head, None, self.qkv)
        if self.fault == "heads first":
            return jnp.moveaxis(y, 0, -1).reshape(x.shape) @ self.out
        return jnp.moveaxis(y, 0, 2).reshape(x.shape) @ self.out


@partial(jax.tree_util.register_dataclass, data_fields=["up", "down"], meta_fields=["fault"])
@dataclass
class Network:
    """A pytree of parameters that is called; its activation by a cond, its second half computed again backwards."""

    up: dict[str, Array]
    down: dict[str, Array]
    fault: str

    def __call__(self, x: Array) -> Array:
        h = x @ self.up["kernel"] + self.up["bias"]
        if self.fault == "relu":
            h = jax.nn.relu(h)
        elif self.fault == "exact gelu":
            h = jax.nn.gelu(h, approximate=False)
        elif self.fault != "no activation":
            h = lax.cond(jnp.all(jnp.isfinite(h)), jax.nn.gelu, jnp.zeros_like, h)
        return jax.checkpoint(lambda y: y @ self.down["kernel"] + self.down["bias"])(h)


def network(fault: str = "") -> Any:
    up = {"kernel": weights(WIDTH, HIDDEN, seed=1), "bias": weights(HIDDEN, seed=2)}
    return Network(up, {"kernel": weights(HIDDEN, WIDTH, seed=3), "bias": weights(WIDTH, seed=4)}, fault)


def rms(fault: str = "") -> Callable[[Array], Array]:
    """A closure over its scale, for one row, mapped over all."""
    gamma = 1 + weights(WIDTH, seed=5)

    def row(x: Array) -> Array:
        if fault == "centred":
            x = x - jnp.mean(x)
        square = jnp.sum(x**2) if fault == "sum of squares" else jnp.mean(x**2)
        if fault == "eps outside":
            return x / (jnp.sqrt(square) + 1e-3) * gamma
        return x * lax.rsqrt(square + 1e-6) * gamma

    return jax.vmap(jax.vmap(row))


class Excite:
    """Squeeze and excitation."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.layers = [(weights(8, 2, seed=1), weights(2, seed=3)), (weights(2, 8, seed=2), weights(8, seed=4))]

    def __call__(self, x: Array) -> Array:
        (w1, b1), (w2, b2) = self.layers
        s = x.max((1, 2)) if self.fault == "the largest" else x.mean((1, 2))
        h = jnp.tanh(s @ w1 + b1) if self.fault == "tanh" else jax.nn.relu(s @ w1 + b1)
        z = h @ w2 + b2
        gate = jax.nn.softmax(z) if self.fault == "softmax" else jax.nn.sigmoid(z)
        return x + gate[:, None, None] if self.fault == "added" else x * gate[:, None, None]


def mha(**options: Any) -> ar.MultiHeadAttention:
    return ar.MultiHeadAttention(**{"width": WIDTH, "num_heads": HEADS, **options})


LAYERS: list[tuple[Callable[[str], Any], ar.Block, dict[str, tuple[str, str, str]]]] = [
    (packed, mha(causal="top_left"), {
        "scale by the width": ("attention.scores", "scale-by-model-width", "/ jnp.sqrt(width)"),
        "not causal": ("attention.masked", "causal-left-out", "jax.nn.softmax(scores"),
        "mask upside down": ("attention.masked", "", "jnp.where(mask.T"),
        "softmax over queries": ("attention.weights", "softmax-over-queries", "jax.nn.softmax"),
        "heads merged in another order": ("merged", "merged-without-transposing", "merged = y.reshape"),
    }),
    (Heads, mha(use_bias=False), {
        "divided by the width of a head": ("attention.scores", "scale-twice", "scores = scores /"),
        "not normalised": ("attention.weights", "softmax-unnormalised", "jnp.exp(scores)"),
        "heads first": ("merged", "heads-merged-inside-out", "jnp.moveaxis(y, 0, -1)"),
    }),
    (network, ar.FeedForward(width=WIDTH, hidden_width=HIDDEN, activation="gelu_tanh"), {
        "no activation": ("active", "activation-left-out", ""),
        "relu": ("active", "relu-activation", "jax.nn.relu"),
        "exact gelu": ("active", "gelu-exact", "approximate=False"),
    }),
    (rms, ar.RMSNorm(width=WIDTH, eps=1e-6), {
        "centred": ("normed", "", ""),
        "sum of squares": ("normed", "", "lax.rsqrt"),
        "eps outside": ("normed", "", "1e-3"),
    }),
    (Excite, ar.SqueezeExcitation(channels=8, reduction=4), {
        "the largest": ("squeezed", "", "x.max"),
        "tanh": ("active", "activation|option:activation", "jnp.tanh"),
        "softmax": ("gate", "", "jax.nn.softmax(z)"),
        "added": ("excited", "", "x + gate"),
    }),
]  # fmt: skip
