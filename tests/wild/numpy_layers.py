"""Layers as people write them in plain NumPy, as in a course, each with the faults that people make.

Written here, in the styles that are seen in public; no code is copied. See ``corpus`` for how they are told.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import erf

import attn_ref as ar

from .corpus import Planted, Wild, halved, maps, padding, tokens, values
from .weights import by, columns, instead, interleaved, together, zeroed

WIDTH, HEADS, HIDDEN = 12, 3, 20
Array = np.ndarray


class LoopAttention:
    """Head after head in a loop, the future by ``np.triu``, softmax by hand."""

    def __init__(self, fault: str = "", seed: int = 0) -> None:
        self.fault = fault.split("+")
        rng = np.random.default_rng(seed)
        self.W_q, self.W_k, self.W_v, self.W_o = (rng.normal(0, 0.4, (WIDTH, WIDTH)) for _ in range(4))
        self.b_q, self.b_k, self.b_v, self.b_o = (rng.normal(0, 0.5, WIDTH) for _ in range(4))

    def softmax(self, z: Array) -> Array:
        axis = -2 if "softmax over queries" in self.fault else -1
        z = z - np.maximum(z.max(axis=axis, keepdims=True), -1e30)
        e = np.exp(z)
        if "exponential alone" in self.fault:
            return e  # fault: exponential alone
        return e / e.sum(axis=axis, keepdims=True)  # fault: softmax over queries

    def __call__(self, x: Array) -> Array:
        t, d = x.shape[1], WIDTH // HEADS
        Q, V = x @ self.W_q, x @ self.W_v + self.b_v  # fault: query bias lost
        if "query bias lost" not in self.fault:
            Q = Q + self.b_q
        W_k = self.W_k.T if "weights transposed" in self.fault else self.W_k
        K = x @ W_k + self.b_k  # fault: weights transposed
        outs = []
        for h in range(HEADS):
            part = slice(h * d, (h + 1) * d)
            if "heads interleaved" in self.fault:
                part = slice(h, None, HEADS)
            part_of_keys = slice(0, d) if "first head for all keys" in self.fault else part
            q, k = Q[:, :, part], K[:, :, part_of_keys]  # fault: heads interleaved, first head for all keys
            v = (K if "keys for values" in self.fault else V)[:, :, part]  # fault: heads interleaved, keys for values
            scores = q @ k.transpose(0, 2, 1)  # fault: no scale
            if "scale by the width" in self.fault:
                scores = scores / math.sqrt(WIDTH)  # fault: scale by the width
            elif "divided by d" in self.fault:
                scores = scores / d  # fault: divided by d
            elif "no scale" not in self.fault:
                scores = scores / math.sqrt(d)
            if "scaled twice" in self.fault:
                scores = scores / math.sqrt(d)  # fault: scaled twice
            future = np.triu(np.ones((t, t), dtype=bool), k=2 if "one key of the future" in self.fault else 1)
            if "past hidden" in self.fault:
                future = np.tril(np.ones((t, t), dtype=bool), k=-1)
            hidden = -5.0 if "weak mask" in self.fault else -1e9
            if "not causal" not in self.fault:
                scores = np.where(future, hidden, scores)  # fault: one key of the future, past hidden, weak mask
            outs.append(self.softmax(scores) @ v)
        y = np.stack(outs, axis=-1 if "heads merged in another order" in self.fault else -2)
        y = y.reshape(x.shape)  # fault: heads merged in another order
        if "output bias lost" in self.fault:
            return y @ self.W_o  # fault: output bias lost
        return y @ self.W_o + self.b_o


def llama_attention(params: dict[str, Array], x: Array, fault: Sequence[str] = ()) -> Array:
    """Grouped heads, positions that turn neighbours, einsum, causal, no biases: a function of a dictionary."""
    b, t, _ = x.shape
    h, g, d = 4, 2, 6

    def angles() -> Array:
        base = 500000.0 if "another base" in fault else 10000.0
        over = h * d if "frequencies by the whole width" in fault else d
        pair = np.arange(0, d, 2) / over
        if "frequencies of half the step" in fault:
            pair = np.arange(d // 2) / d
        inverse = base**-pair  # fault: another base, frequencies by the whole width, frequencies of half the step
        return np.outer(np.arange(t), inverse)

    def turn(y: Array, theta: Array) -> Array:
        cos, sin = np.cos(theta)[:, None, :], np.sin(theta)[:, None, :]
        if "turned backwards" in fault:
            sin = -sin  # fault: turned backwards
        if "pairs are halves" in fault:
            one, two = y[..., : d // 2], y[..., d // 2 :]
            return np.concatenate([one * cos - two * sin, one * sin + two * cos], -1)  # fault: pairs are halves
        one, two = y[..., 0::2], y[..., 1::2]
        if "a sign of the turn" in fault:
            both = [one * cos + two * sin, one * sin + two * cos]  # fault: a sign of the turn
            return np.stack(both, -1).reshape(y.shape)
        if "turned pairs come out as halves" in fault:
            out = [one * cos - two * sin, one * sin + two * cos]
            return np.concatenate(out, -1)  # fault: turned pairs come out as halves
        return np.stack([one * cos - two * sin, one * sin + two * cos], -1).reshape(y.shape)

    q = (x @ params["wq"]).reshape(b, t, h, d)  # fault: no positions
    k = (x @ params["wk"]).reshape(b, t, g, d)  # fault: keys do not turn, no positions
    v = (x @ params["wv"]).reshape(b, t, g, d)
    theta = angles()
    if "no positions" not in fault:
        ahead = np.roll(theta, -1, 0) if "positions wrap" in fault else theta
        q = turn(q, ahead)  # fault: positions wrap
        if "keys do not turn" not in fault:
            k = turn(k, theta)
    if "values turn too" in fault:
        v = turn(v, theta)  # fault: values turn too
    if "heads tiled" in fault:
        k, v = np.tile(k, (1, 1, h // g, 1)), np.tile(v, (1, 1, h // g, 1))  # fault: heads tiled
    elif "values tiled" in fault:
        k, v = np.repeat(k, h // g, axis=2), np.tile(v, (1, 1, h // g, 1))  # fault: values tiled
    else:
        k, v = np.repeat(k, h // g, axis=2), np.repeat(v, h // g, axis=2)
    width = h * d if "scale by the width" in fault else d
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(width)  # fault: scale by the width
    rows, cols = np.arange(t)[:, None], np.arange(t)[None, :]
    allowed = cols <= rows
    if "a window of three" in fault:
        allowed = allowed & (rows - cols < 3)
    scores = np.where(allowed, scores, -np.inf)  # fault: a window of three
    e = np.exp(scores - scores.max(-1, keepdims=True))
    a = e / e.sum(-1, keepdims=True)
    y = np.einsum("bhqk,bkhd->bqhd", a, v)
    return y.reshape(b, t, h * d) @ params["wo"]


class LayerNormByHand:
    """A layer norm as in a course: mean, variance, gamma, beta."""

    def __init__(self, fault: str = "", seed: int = 0) -> None:
        self.fault = fault.split("+")
        rng = np.random.default_rng(seed)
        self.gamma, self.beta = rng.uniform(0.5, 1.5, WIDTH), rng.normal(0, 0.5, WIDTH)
        self.eps = 1e-3 if "another eps" in self.fault else 1e-5

    def __call__(self, x: Array) -> Array:
        axis: Any = -1
        if "over the tokens" in self.fault:
            axis = 1
        if "over tokens and features" in self.fault:
            axis = (1, 2)
        mu = np.mean(x, axis=axis, keepdims=True)  # fault: over the tokens, over tokens and features
        if "unbiased" in self.fault:
            var = np.var(x, axis=axis, ddof=1, keepdims=True)  # fault: unbiased
        elif "second moment" in self.fault:
            var = np.mean(x**2, axis=axis, keepdims=True)  # fault: second moment
        elif "mean absolute deviation" in self.fault:
            var = np.mean(np.abs(x - mu), axis=axis, keepdims=True) ** 2  # fault: mean absolute deviation
        else:
            var = np.mean((x - mu) ** 2, axis=axis, keepdims=True)  # fault: over the tokens, over tokens and features
        if "eps outside the root" in self.fault:
            x_hat = (x - mu) / (np.sqrt(var) + self.eps)  # fault: eps outside the root
        elif "no root" in self.fault:
            x_hat = (x - mu) / (var + self.eps)  # fault: no root
        elif "not centred" in self.fault:
            x_hat = x / np.sqrt(var + self.eps)  # fault: not centred
        else:
            x_hat = (x - mu) / np.sqrt(var + self.eps)  # fault: another eps, unbiased, second moment
        if "gamma from one" in self.fault:
            return (1 + self.gamma) * x_hat + self.beta  # fault: gamma from one
        if "beta lost" in self.fault:
            return self.gamma * x_hat  # fault: beta lost
        if "shifted before it is scaled" in self.fault:
            return self.gamma * (x_hat + self.beta)  # fault: shifted before it is scaled
        return self.gamma * x_hat + self.beta


class FeedForward:
    """Two linear layers with GELU by tanh between, written out."""

    def __init__(self, fault: str = "", seed: int = 0) -> None:
        self.fault = fault.split("+")
        rng = np.random.default_rng(seed)
        self.W1, self.b1 = rng.normal(0, 0.4, (WIDTH, HIDDEN)), rng.normal(0, 0.5, HIDDEN)
        self.W2, self.b2 = rng.normal(0, 0.4, (HIDDEN, WIDTH)), rng.normal(0, 0.5, WIDTH)

    def gelu(self, z: Array) -> Array:
        if "relu" in self.fault:
            return np.maximum(z, 0)  # fault: relu
        if "gelu by erf" in self.fault:
            return 0.5 * z * (1 + erf(z / math.sqrt(2)))  # fault: gelu by erf
        if "gelu by a sigmoid" in self.fault:
            return z / (1 + np.exp(-1.702 * z))  # fault: gelu by a sigmoid
        if "no root of the constant" in self.fault:
            return 0.5 * z * (1 + np.tanh(2 / np.pi * (z + 0.044715 * z**3)))  # fault: no root of the constant
        if "a square for the cube" in self.fault:
            return 0.5 * z * (1 + np.tanh(math.sqrt(2 / np.pi) * (z + 0.044715 * z**2)))  # fault: a square for the cube
        if "a digit of the constant" in self.fault:
            bent = np.tanh(math.sqrt(2 / np.pi) * (z + 0.44715 * z**3))  # fault: a digit of the constant
            return 0.5 * z * (1 + bent)
        if "no half" in self.fault:
            return z * (1 + np.tanh(math.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))  # fault: no half
        if "leaky relu" in self.fault:
            return np.where(z > 0, z, 0.01 * z)  # fault: leaky relu
        return 0.5 * z * (1 + np.tanh(math.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))

    def __call__(self, x: Array) -> Array:
        if "bias after the activation" in self.fault:
            h = self.gelu(x @ self.W1) + self.b1  # fault: bias after the activation
        else:
            h = x @ self.W1 + self.b1  # fault: no activation
            if "no activation" not in self.fault:
                h = self.gelu(h)
        y = h @ self.W2  # fault: output bias lost
        if "output bias lost" not in self.fault:
            y = y + self.b2
        if "activated twice" in self.fault:
            y = self.gelu(y)  # fault: activated twice
        if "residual inside" in self.fault:
            y = y + x  # fault: residual inside
        return y


class SqueezeExcite:
    """Squeeze and excitation of maps whose channels come last."""

    def __init__(self, fault: str = "", seed: int = 0) -> None:
        self.fault = fault.split("+")
        rng = np.random.default_rng(seed)
        self.w1, self.b1 = rng.normal(0, 0.8, (WIDTH, 3)), rng.normal(0, 0.8, 3)
        self.w2, self.b2 = rng.normal(0, 0.8, (3, WIDTH)), rng.normal(0, 0.8, WIDTH)

    def __call__(self, x: Array) -> Array:
        b, height, width, c = x.shape
        if "maximum for mean" in self.fault:
            squeezed = x.max(axis=(1, 2))  # fault: maximum for mean
        elif "sum for mean" in self.fault:
            squeezed = x.sum(axis=(1, 2))  # fault: sum for mean
        elif "channels and space mixed" in self.fault:
            squeezed = x.reshape(b, c, height * width).mean(axis=2)  # fault: channels and space mixed
        elif "over the batch too" in self.fault:
            squeezed = np.broadcast_to(x.mean(axis=(0, 1, 2)), (b, c))  # fault: over the batch too
        else:
            squeezed = x.mean(axis=(1, 2))
        hidden = squeezed @ self.w1  # fault: first bias lost
        if "first bias lost" not in self.fault:
            hidden = hidden + self.b1  # fault: no relu
        if "tanh for relu" in self.fault:
            hidden = np.tanh(hidden)  # fault: tanh for relu
        elif "no relu" not in self.fault:
            hidden = np.maximum(hidden, 0)
        logits = hidden @ self.w2 + self.b2  # fault: no sigmoid
        if "no sigmoid" in self.fault:
            gate = logits
        elif "softmax for sigmoid" in self.fault:
            e = np.exp(logits - logits.max(-1, keepdims=True))
            gate = e / e.sum(-1, keepdims=True)  # fault: softmax for sigmoid
        elif "hard sigmoid of Keras 2" in self.fault:
            gate = np.clip(0.2 * logits + 0.5, 0, 1)  # fault: hard sigmoid of Keras 2
        elif "hard sigmoid" in self.fault:
            gate = np.clip(logits + 3, 0, 6) / 6  # fault: hard sigmoid
        else:
            gate = 1 / (1 + np.exp(-logits))
        gate = gate[:, None, None, :]
        if "added" in self.fault:
            return x + gate  # fault: added
        if "residual" in self.fault:
            return x + x * gate  # fault: residual
        return x * gate


class NonLocalBlock:
    """Embedded Gaussian of maps whose channels come first; keys and values are pooled."""

    def __init__(self, fault: str = "", seed: int = 0) -> None:
        self.fault = fault.split("+")
        rng = np.random.default_rng(seed)
        self.theta, self.phi, self.g = (rng.normal(0, 0.4, (6, WIDTH)) for _ in range(3))
        self.theta_b, self.phi_b, self.g_b = (rng.normal(0, 0.5, 6) for _ in range(3))
        self.w_z, self.b_z = rng.normal(0, 0.4, (WIDTH, 6)), rng.normal(0, 0.5, WIDTH)

    def pool(self, y: Array) -> Array:
        b, c, height, width = y.shape
        y = y[:, :, : height // 2 * 2, : width // 2 * 2].reshape(b, c, height // 2, 2, width // 2, 2)
        if "mean for maximum" in self.fault:
            return y.mean(axis=(3, 5))  # fault: mean for maximum
        return y.max(axis=(3, 5))

    def conv(self, kernel: Array, bias: Array, x: Array) -> Array:
        return np.einsum("oc,bchw->bohw", kernel, x) + bias[:, None, None]

    def __call__(self, x: Array) -> Array:
        b, _, height, width = x.shape
        theta, g = self.conv(self.theta, self.theta_b, x), self.pool(self.conv(self.g, self.g_b, x))
        if "one embedding for both" in self.fault:
            phi = self.pool(theta)  # fault: one embedding for both
        elif "pooled before the convolution" in self.fault:
            phi = self.conv(self.phi, self.phi_b, self.pool(x))  # fault: pooled before the convolution
        else:
            phi = self.pool(self.conv(self.phi, self.phi_b, x))
        if "exchanged" in self.fault:
            phi, g = g, phi  # fault: exchanged
        if "queries column by column" in self.fault:
            theta = theta.swapaxes(2, 3)  # fault: queries column by column
        theta, phi, g = (y.reshape(b, 6, -1) for y in (theta, phi, g))
        f = theta.transpose(0, 2, 1) @ phi
        if "scaled" in self.fault:
            f = f / math.sqrt(6)  # fault: scaled
        if "divided by the number" in self.fault:
            a = f / f.shape[-1]  # fault: divided by the number
        elif "softmax over queries" in self.fault:
            e = np.exp(f - f.max(axis=1, keepdims=True))
            a = e / e.sum(axis=1, keepdims=True)  # fault: softmax over queries
        else:
            e = np.exp(f - f.max(axis=2, keepdims=True))
            a = e / e.sum(axis=2, keepdims=True)
        y = a @ g.transpose(0, 2, 1)
        if "channels and space mixed" in self.fault:
            y = y.reshape(b, 6, height, width)  # fault: channels and space mixed
        else:
            y = y.transpose(0, 2, 1).reshape(b, 6, height, width)
        b_z = 0 * self.b_z if "bias lost" in self.fault else self.b_z
        z = self.conv(self.w_z, b_z, y)  # fault: no residual, bias lost
        if "no residual" in self.fault:
            return z
        if "residual twice" in self.fault:
            return x + z + x  # fault: residual twice
        return x + z


class EncoderBlock:
    """A pre-norm encoder layer from a course; ``mask`` (b, t) is 1 for a word and 0 for padding."""

    def __init__(self, fault: str = "", seed: int = 0) -> None:
        self.fault = fault.split("+")
        rng = np.random.default_rng(seed)
        self.W_qkv, self.b_qkv = rng.normal(0, 0.4, (WIDTH, 3 * WIDTH)), rng.normal(0, 0.5, 3 * WIDTH)
        self.W_o, self.b_o = rng.normal(0, 0.4, (WIDTH, WIDTH)), rng.normal(0, 0.5, WIDTH)
        self.W1, self.b1 = rng.normal(0, 0.4, (WIDTH, HIDDEN)), rng.normal(0, 0.5, HIDDEN)
        self.W2, self.b2 = rng.normal(0, 0.4, (HIDDEN, WIDTH)), rng.normal(0, 0.5, WIDTH)
        self.g1, self.g2 = (rng.uniform(0.5, 1.5, WIDTH) for _ in range(2))
        self.s1, self.s2 = (rng.normal(0, 0.5, WIDTH) for _ in range(2))

    def norm(self, x: Array, gain: Array, shift: Array) -> Array:
        eps = 1e-3 if "another eps" in self.fault else 1e-6
        spread = np.sqrt(x.var(-1, keepdims=True) + eps)
        return (x - x.mean(-1, keepdims=True)) / spread * gain + shift  # fault: another eps

    def attend(self, x: Array, mask: Array, raw: Array) -> Array:
        b, t, c = x.shape
        if "values of the input" in self.fault:
            W_q, W_k, W_v = np.split(self.W_qkv, 3, axis=-1)
            b_q, b_k, b_v = np.split(self.b_qkv, 3, axis=-1)
            q, k, v = x @ W_q + b_q, x @ W_k + b_k, raw @ W_v + b_v  # fault: values of the input
        else:
            q, k, v = np.split(x @ self.W_qkv + self.b_qkv, 3, axis=-1)
        q, k, v = (y.reshape(b, t, HEADS, -1).transpose(0, 2, 1, 3) for y in (q, k, v))
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(k.shape[-1])  # fault: padding seen
        keep = mask[:, None, None, :]
        if "mask upside down" in self.fault:
            scores = scores + keep * -1e9  # fault: mask upside down
        elif "queries masked" in self.fault:
            scores = scores + (1 - mask[:, None, :, None]) * -1e9  # fault: queries masked
        elif "mask multiplied" in self.fault:
            scores = scores * keep  # fault: mask multiplied
        elif "weak mask" in self.fault:
            scores = scores + (1 - keep) * -10.0  # fault: weak mask
        elif "padding seen" not in self.fault and "mask after the softmax" not in self.fault:
            scores = scores + (1 - keep) * -1e9
        e = np.exp(scores - scores.max(-1, keepdims=True))
        a = e / e.sum(-1, keepdims=True)
        if "mask after the softmax" in self.fault:
            a = a * keep  # fault: mask after the softmax
        return (a @ v).transpose(0, 2, 1, 3).reshape(b, t, c) @ self.W_o + self.b_o

    def feed(self, x: Array) -> Array:
        z = x @ self.W1 + self.b1
        if "gelu" in self.fault:
            return 0.5 * z * (1 + erf(z / math.sqrt(2))) @ self.W2 + self.b2  # fault: gelu
        return np.maximum(z, 0) @ self.W2 + self.b2

    def __call__(self, x: Array, mask: Array) -> Array:
        if "post-norm" in self.fault:
            x = self.norm(x + self.attend(x, mask, x), self.g1, self.s1)  # fault: post-norm
            return self.norm(x + self.feed(x), self.g2, self.s2)  # fault: post-norm
        y = self.norm(x, self.g1, self.s1)
        a = self.attend(y, mask, x)  # fault: no first residual
        if "residual of the norm" in self.fault:
            z = y + a  # fault: residual of the norm
        elif "no first residual" in self.fault:
            z = a
        else:
            z = x + a
        if "one norm for both" in self.fault:
            y = self.norm(z, self.g1, self.s1)  # fault: one norm for both
        elif "no second norm" in self.fault:
            y = z  # fault: no second norm
        else:
            y = self.norm(z, self.g2, self.s2)
        if "residual of the input" in self.fault:
            return x + self.feed(y)  # fault: residual of the input
        return z + self.feed(y)


# what they are -------------------------------------------------------------------------------------------------------


def made(cls: Any, fault: str, seed: int) -> Any:
    return cls(fault, seed)


def run(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Array:
    return np.asarray(layer(*args, **kwargs))


def alone(name: str) -> Callable[[Mapping[str, Array]], tuple[list[Any], dict[str, Any]]]:
    """The one input of the block is the one argument of the layer."""
    return lambda inputs: ([inputs[name]], {})


def linears(layer: Any, **names: str) -> dict[str, Array]:
    """Kernels and biases by the names of their attributes: query="W_q b_q"."""
    found = {}
    for name, said in names.items():
        for kind, attribute in zip(("kernel", "bias"), said.split(), strict=False):
            found[f"{name}.{kind}"] = getattr(layer, attribute)
    return found


def make_llama(function: Any, fault: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    widths = {"wq": (24, 24), "wk": (24, 12), "wv": (24, 12), "wo": (24, 24)}
    params = {name: rng.normal(0, 0.3, shape) for name, shape in widths.items()}
    return functools.partial(function, params, fault=fault.split("+"))


def encoder_copy(layer: EncoderBlock) -> dict[str, Array]:
    kernels, biases = np.split(layer.W_qkv, 3, axis=1), np.split(layer.b_qkv, 3)
    named = zip(("query", "key", "value"), kernels, biases, strict=True)
    found = {f"attention.{name}.{kind}": y for name, k, b in named for kind, y in (("kernel", k), ("bias", b))}
    return {
        **found, "attention.project.kernel": layer.W_o, "attention.project.bias": layer.b_o,
        "attention_norm.scale": layer.g1, "attention_norm.offset": layer.s1,
        "feed_forward.expand.kernel": layer.W1, "feed_forward.expand.bias": layer.b1,
        "feed_forward.reduce.kernel": layer.W2, "feed_forward.reduce.bias": layer.b2,
        "feed_forward_norm.scale": layer.g2, "feed_forward_norm.offset": layer.s2,
    }  # fmt: skip


def draw_padded(rng: np.random.Generator) -> dict[str, Array]:
    b, t = int(rng.integers(1, 4)), int(rng.integers(4, 10))
    return {"x": values(rng, b, t, WIDTH), "attention_mask": padding(rng, b, t)[:, None, None, :]}


def non_local_copy(layer: NonLocalBlock) -> dict[str, Array]:
    found = linears(layer, theta="theta theta_b", phi="phi phi_b", g="g g_b", project="w_z b_z")
    return {name: y.T[None, None] if name.endswith("kernel") else y for name, y in found.items()}


QKV = ("query.kernel", "query.bias", "key.kernel", "key.bias", "value.kernel", "value.bias")
SCORES, MASKED, WEIGHTS = "attention.scores", "attention.masked|attention.weights", "attention.weights"
ANGLES = "query_rotary.angles|query_rotary.rotated"
LLAMA = ar.MultiHeadAttention(
    width=24, num_heads=4, num_kv_heads=2, use_bias=False, output_bias=False, rotary="interleaved", causal="top_left"
)


def F(taps: str, reason: str, option: str = "", **more: Any) -> Planted:
    return Planted(taps=taps, reason=reason, option=option, **more)


WILD = halved(
    Wild(
        cls=LoopAttention, block=ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, causal="top_left"),
        draw=tokens("query", WIDTH, least=4), call=alone("query"), make=made, run=run,
        copy=lambda m: linears(m, query="W_q b_q", key="W_k b_k", value="W_v b_v", project="W_o b_o"),
        faults={
            "heads interleaved": F("query", "a head takes every third feature", alias=together(
                columns(interleaved(HEADS, WIDTH), *QKV))),
            "query bias lost": F("query", "the queries have no bias", alias=zeroed("query.bias")),
            "weights transposed": F("key", "the keys' kernel is transposed", alias=by("key.kernel", np.transpose)),
            "keys for values": F("value|attention.context", "keys are summed", alias=instead(value="key")),
            "first head for all keys": F("key|attention.scores", "all heads read one head's keys", alias=lambda w: {
                **w, "key.kernel": np.tile(w["key.kernel"][:, :4], 3), "key.bias": np.tile(w["key.bias"][:4], 3)}),
            "no scale": F(SCORES, "scores are not scaled", "option:scale"),
            "scale by the width": F(SCORES, "scores are divided by the root of the model's width", "option:scale"),
            "divided by d": F(SCORES, "scores are divided by the head width, not its root", "option:scale"),
            "scaled twice": F(SCORES, "scores are divided by the root of the head width twice", "option:scale"),
            "one key of the future": F(MASKED, "a query sees the next key", "option:window_right"),
            "past hidden": F(MASKED, "a query sees the future and not the past"),
            "weak mask": F(MASKED, "hidden keys have a score of -5 and take weight"),
            "softmax over queries": F(WEIGHTS, "softmax over the queries"),
            "exponential alone": F(WEIGHTS, "weights are not divided by their sum"),
            "heads merged in another order": F("merged", "features come (d, h) instead of (h, d)"),
            "output bias lost": F("projected", "the output has no bias", alias=zeroed("project.bias")),
        },
        pairs=("scale by the width+heads merged in another order", "one key of the future+output bias lost"),
    ),
    Wild(
        cls=llama_attention, block=LLAMA, draw=tokens("query", 24, least=5), call=alone("query"), make=make_llama,
        run=run,
        copy=lambda m: {f"{name}.kernel": m.args[0][short] for name, short in
                        (("query", "wq"), ("key", "wk"), ("value", "wv"), ("project", "wo"))},
        faults={
            "another base": F(ANGLES, "base 500000 for 10000", "option:rotary_base"),
            "frequencies by the whole width": F(ANGLES, "the exponent is divided by the model's width"),
            "frequencies of half the step": F(ANGLES, "the exponent is i/d for 2i/d"),
            "turned backwards": F("query_rotary.rotated", "the angle has the other sign"),
            "pairs are halves": F("query_rotary.rotated", "feature i turns with i + d/2", "option:rotary"),
            "a sign of the turn": F("query_rotary.rotated", "the minus is a plus: no rotation"),
            "turned pairs come out as halves": F(
                "query_rotary.rotated", "features are left in another order",
                unseen="queries and keys are left in the same order, and their product does not see it"),
            "no positions": F("query_rotary.angles|query_rotary.rotated|attention.scores", "nothing turns",
                              "option:rotary"),
            "keys do not turn": F("key_rotary.rotated", "only queries turn"),
            "positions wrap": F("query_rotary.angles|query_rotary.rotated", "queries stand one position ahead"),
            "values turn too": F("attention.context|value", "values turn as keys do"),
            "heads tiled": F(SCORES, "query head i reads key head i mod g"),
            "scale by the width": F(SCORES, "scores are divided by the root of the model's width", "option:scale"),
            "a window of three": F(MASKED, "keys more than two before are hidden", "option:window_left"),
            "values tiled": F("attention.context", "keys are repeated and values are tiled"),
        },
        pairs=("another base+a window of three", "keys do not turn+heads tiled"),
    ),
    Wild(
        cls=LayerNormByHand, block=ar.LayerNorm(width=WIDTH), draw=tokens("x", WIDTH, least=4), call=alone("x"),
        make=made, run=run, copy=lambda m: {"scale": m.gamma, "offset": m.beta},
        faults={
            "another eps": F("normed", "eps 1e-3 for 1e-5", "option:eps"),
            "over the tokens": F("normed", "mean and variance over the tokens"),
            "over tokens and features": F("normed", "mean and variance over tokens and features"),
            "unbiased": F("normed", "the variance is divided by n - 1"),
            "second moment": F("normed", "the mean square for the variance"),
            "mean absolute deviation": F("normed", "the mean absolute deviation for the standard deviation"),
            "eps outside the root": F("normed", "eps is added to the standard deviation"),
            "no root": F("normed", "divided by the variance"),
            "not centred": F("normed", "the mean is not taken away"),
            "gamma from one": F("scaled", "the scale is 1 + gamma", alias=by("scale", lambda y: y + 1)),
            "beta lost": F("shifted", "beta is not added", alias=zeroed("offset")),
            "shifted before it is scaled": F("scaled|shifted", "beta is added before gamma multiplies",
                                      alias=lambda w: {**w, "offset": w["offset"] * w["scale"]}),
        },
        pairs=("unbiased+beta lost",),
    ),
    Wild(
        cls=FeedForward, block=ar.FeedForward(width=WIDTH, hidden_width=HIDDEN, activation="gelu_tanh"),
        draw=tokens("x", WIDTH, least=2), call=alone("x"), make=made, run=run,
        copy=lambda m: linears(m, expand="W1 b1", reduce="W2 b2"),
        faults={
            "relu": F("active", "ReLU for GELU", "option:activation"),
            "gelu by erf": F("active", "GELU with the error function", "option:activation"),
            "gelu by a sigmoid": F("active", "z times the sigmoid of 1.702 z"),
            "no root of the constant": F("active", "2/pi for its root"),
            "a square for the cube": F("active", "z squared in the tanh"),
            "a digit of the constant": F("active", "0.44715 for 0.044715"),
            "no half": F("active", "not halved"),
            "leaky relu": F("active", "leaky ReLU for GELU"),
            "no activation": F("active", "no activation"),
            "bias after the activation": F("hidden|active", "the bias is added after the activation"),
            "activated twice": F("reduced", "the output is activated too"),
            "residual inside": F("reduced", "the input is added"),
            "output bias lost": F("reduced", "the output has no bias", alias=zeroed("reduce.bias")),
        },
        pairs=("gelu by erf+residual inside",),
    ),
    Wild(
        cls=SqueezeExcite, block=ar.SqueezeExcitation(channels=WIDTH, reduction=4), draw=maps(WIDTH), call=alone("x"),
        make=made, run=run, copy=lambda m: linears(m, reduce="w1 b1", expand="w2 b2"),
        faults={
            "maximum for mean": F("squeezed", "the maximum over space"),
            "sum for mean": F("squeezed", "the sum over space"),
            "channels and space mixed": F("squeezed", "read as channels first"),
            "over the batch too": F("squeezed", "the mean is over the batch too"),
            "tanh for relu": F("active", "tanh for ReLU"),
            "no relu": F("active", "no activation between the linear layers"),
            "first bias lost": F("reduced", "the first linear layer has no bias", alias=zeroed("reduce.bias")),
            "no sigmoid": F("gate", "the gate is not between 0 and 1"),
            "softmax for sigmoid": F("gate", "softmax over the channels"),
            "hard sigmoid of Keras 2": F("gate", "0.2 x + 0.5, clipped"),
            "hard sigmoid": F("gate", "relu6(x + 3) / 6", "option:gate"),
            "added": F("excited", "the gate is added"),
            "residual": F("excited", "the input is added"),
        },
        pairs=("maximum for mean+hard sigmoid",),
    ),
    Wild(
        cls=NonLocalBlock, block=ar.NonLocal(channels=WIDTH, sub_sample=True), draw=maps(WIDTH, least=3),
        inputs={"x": "channels first"}, call=lambda inputs: ([inputs["x"].transpose(0, 3, 1, 2)], {}),
        expect=lambda y, inputs: y.transpose(0, 3, 1, 2), make=made, run=run, copy=non_local_copy,
        faults={
            "mean for maximum": F("phi", "mean pooling"),
            "one embedding for both": F("phi", "keys by the kernel of the queries", alias=instead(phi="theta")),
            "exchanged": F("phi", "keys and values are exchanged", alias=instead(phi="g", g="phi")),
            "pooled before the convolution": F("phi", "the keys are pooled before they are projected"),
            "queries column by column": F("theta|scores", "queries come column by column"),
            "scaled": F("scores", "scores are divided by the root of the inner width", "option:scale"),
            "divided by the number": F("weights", "the dot product divided by the number of keys", "option:pairing"),
            "softmax over queries": F("weights", "softmax over the queries"),
            "channels and space mixed": F("context", "pixels and channels are not exchanged back"),
            "bias lost": F("projected", "the projection has no bias", alias=zeroed("project.bias")),
            "no residual": F("output", "the input is not added"),
            "residual twice": F("output", "the input is added twice"),
        },
        pairs=("scaled+residual twice",),
    ),
    Wild(
        cls=EncoderBlock,
        block=ar.EncoderLayer(width=WIDTH, num_heads=HEADS, hidden_width=HIDDEN, norm_first=True, eps=1e-6),
        draw=draw_padded, inputs={"mask": "(b, t), 1 for a word and 0 for padding"},
        call=lambda inputs: ([inputs["x"], inputs["attention_mask"][:, 0, 0].astype(np.float64)], {}),
        make=made, run=run, copy=encoder_copy,
        faults={
            "another eps": F("attention_norm", "eps 1e-3 for 1e-6", "option:eps"),
            "values of the input": F("attention.value", "values are read before the norm"),
            "padding seen": F("attention.attention.masked|attention.attention.weights", "the mask is not used"),
            "mask upside down": F("attention.attention.masked|attention.attention.weights", "words are hidden"),
            "queries masked": F("attention.attention.masked|attention.attention.weights", "rows for columns"),
            "mask multiplied": F("attention.attention.masked|attention.attention.weights", "hidden scores are 0"),
            "weak mask": F("attention.attention.masked|attention.attention.weights", "hidden scores lose 10"),
            "mask after the softmax": F("attention.attention.masked|attention.attention.weights",
                                        "weights are hidden when they are normalised"),
            "gelu": F("feed_forward.active", "GELU for ReLU", "option:activation"),
            "post-norm": F("attention_norm|attention.query", "norms after the sums", "option:norm_first"),
            "no first residual": F("attended", "the input is not added to the attention"),
            "residual of the norm": F("attended", "the normed input is added"),
            "one norm for both": F("feed_forward_norm", "the first norm's parameters twice",
                                   alias=instead(feed_forward_norm="attention_norm")),
            "no second norm": F("feed_forward_norm", "the network reads what is not normed"),
            "residual of the input": F("fed", "the layer's input is added at the end"),
        },
        pairs=("weak mask+gelu", "values of the input+residual of the input"),
    ),
)  # fmt: skip
