"""Layers as people write them in Keras, for any of its backends, each with the faults that people make.

``fault=""`` is right. Written here; no code is copied. ``LAYERS``: (layer, block, fault -> (tap, reason, text that the
line has)). Run as a script, it prints as JSON what ``conform`` says of every one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import attn_ref as ar

WIDTH, HEADS, HIDDEN = 12, 3, 20


def dense(width: int, **options: Any) -> Any:
    return layers.Dense(width, bias_initializer="random_normal", **options)


class Packed(layers.Layer):
    """One projection for all three, as in GPT."""

    def __init__(self, fault: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.fault = fault
        self.qkv, self.out = dense(3 * WIDTH), dense(WIDTH)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fault": self.fault}

    def call(self, x: Any) -> Any:
        t, c = x.shape[1:]
        q, k, v = (
            ops.transpose(ops.reshape(y, (-1, t, HEADS, 4)), (0, 2, 1, 3)) for y in ops.split(self.qkv(x), 3, -1)
        )
        width = c if self.fault == "scale by the width" else c // HEADS
        scores = ops.matmul(q, ops.swapaxes(k, -1, -2)) / width**0.5
        if self.fault != "not causal":
            scores = ops.where(ops.tril(ops.ones((t, t), bool)), scores, -1e9)
        p = ops.softmax(scores, axis=-2 if self.fault == "softmax over queries" else -1)
        y = ops.matmul(p, v)
        if self.fault != "heads merged in another order":
            y = ops.transpose(y, (0, 2, 1, 3))
        merged = ops.reshape(y, (-1, t, c))
        return self.out(merged)


def network(fault: str = "") -> Any:
    """A functional model; it has no line of its own, so its layers are named."""
    x = keras.Input((None, WIDTH))
    h = dense(HIDDEN, name="wide", activation=None if fault == "no activation" else "relu")(x)
    h = ops.tanh(h) if fault == "tanh" else h
    return keras.Model(x, dense(WIDTH, name="narrow")(h))


class Norm(layers.Layer):
    """A root-mean-square norm with a weight of its own."""

    def __init__(self, fault: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.fault = fault

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="scale")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fault": self.fault}

    def call(self, x: Any) -> Any:
        if self.fault == "centred":
            x = x - ops.mean(x, -1, keepdims=True)
        reduce = ops.sum if self.fault == "sum of squares" else ops.mean
        if self.fault == "eps outside":
            return x / (ops.sqrt(reduce(x * x, -1, keepdims=True)) + 1e-3) * self.scale
        return x * ops.rsqrt(reduce(x * x, -1, keepdims=True) + 1e-6) * self.scale


class Excite(layers.Layer):
    """Squeeze and excitation."""

    def __init__(self, fault: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.fault = fault
        self.down = dense(2, activation="tanh" if fault == "tanh" else "relu")
        self.up = dense(8, activation="softmax" if fault == "softmax" else "sigmoid")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fault": self.fault}

    def call(self, x: Any) -> Any:
        s = ops.max(x, (1, 2)) if self.fault == "the largest" else ops.mean(x, (1, 2))
        gate = self.up(self.down(s))[:, None, None]
        return x + gate if self.fault == "added" else x * gate


LAYERS: list[tuple[Callable[[str], Any], ar.Block, dict[str, tuple[str, str, str]]]] = [
    (Packed, ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, causal="top_left"), {
        "scale by the width": ("attention.scores", "scale-by-model-width", "/ width**0.5"),
        "not causal": ("attention.masked", "causal-left-out", "ops.softmax(scores"),
        "softmax over queries": ("attention.weights", "softmax-over-queries", "ops.softmax(scores"),
        "heads merged in another order": ("merged", "merged-without-transposing", "merged = ops.reshape"),
    }),
    (network, ar.FeedForward(width=WIDTH, hidden_width=HIDDEN, activation="relu"), {
        "no activation": ("active", "activation-left-out", "in layer 'wide'"),
        "tanh": ("reduce", "", ""),
    }),
    (Norm, ar.RMSNorm(width=WIDTH, eps=1e-6), {
        "centred": ("normed", "", "x = x - ops.mean"),
        "sum of squares": ("normed", "", "ops.rsqrt"),
        "eps outside": ("normed", "", "1e-3"),
    }),
    (Excite, ar.SqueezeExcitation(channels=8, reduction=4), {
        "the largest": ("squeezed", "", "ops.max"),
        "tanh": ("active", "activation|option:activation", "self.down(s)"),
        "softmax": ("gate", "", "self.up("),
        "added": ("excited", "", "x + gate"),
    }),
]  # fmt: skip


def function() -> Callable[[Any], Any]:
    """A function of ``keras.ops`` and of arrays that it closes over."""
    rng = np.random.default_rng(0)
    up, down = (rng.normal(size=shape).astype(np.float32) for shape in ((WIDTH, HIDDEN), (HIDDEN, WIDTH)))
    return lambda x: ops.matmul(ops.relu(ops.matmul(x, up)), down)


def told(make: Callable[[str], Any], block: ar.Block, fault: str) -> dict[str, Any]:
    """The verdict as plain data, and that nothing else is as it was not before."""
    keras.utils.set_random_seed(0)
    layer = make(fault)
    if isinstance(layer, keras.Model):
        before = [keras.ops.convert_to_numpy(w) for w in layer.weights]
        verdict = ar.conform(layer, block, cases=2)
        now = [keras.ops.convert_to_numpy(w) for w in layer.weights]
        assert all((a == b).all() and a.dtype == b.dtype == "float32" for a, b in zip(before, now, strict=True))
    else:
        verdict = ar.conform(layer, block, cases=2)
    return verdict.to_json()


if __name__ == "__main__":
    found = {f"{m.__name__}: {fault}": told(m, block, fault) for m, block, faults in LAYERS for fault in ["", *faults]}
    found["function: "] = ar.conform(function(), LAYERS[1][1], cases=2).to_json()
    state: dict[str, Any] = {"plain": keras.backend.standardize_dtype(ops.ones(2).dtype)}
    state["promoted"] = keras.backend.result_type("float64", float)
    if keras.backend.backend() == "jax":
        state["x64"] = __import__("jax").config.jax_enable_x64
    json.dump({"verdicts": found, "state": state}, sys.stdout)
