"""Layers as people write them in plain JAX: functions of a dictionary of parameters, bound by ``functools.partial``.

Each has the faults that people make. Written here, in the styles that are seen in public; no code is copied. See
``corpus`` for how they are told.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import attn_ref as ar

from .corpus import Planted, Wild, halved, maps, padding, tokens, values
from .weights import by, columns, instead, ones, together, zeroed

Array = jax.Array
Faults = Sequence[str]


def attention(params: Any, x: Array, mask: Array, fault: Faults = ()) -> Array:
    """Causal self-attention of 3 heads; ``mask`` (b, s) is True where there is a token."""
    b, t, c = x.shape
    of_keys = "query" if "one kernel for queries and keys" in fault else "key"
    q = x @ params["query"]["w"] + params["query"]["b"]
    k = x @ params[of_keys]["w"] + params[of_keys]["b"]  # fault: one kernel for queries and keys
    v = x @ params["value"]["w"] + params["value"]["b"]
    q, k = q.reshape(b, t, 3, c // 3), k.reshape(b, t, 3, c // 3)
    last = "heads by the last axis" in fault
    v = v.reshape(b, t, -1, 3).swapaxes(2, 3) if last else v.reshape(b, t, 3, -1)  # fault: heads by the last axis
    product = "bthd,bshd->bhst" if "scores transposed" in fault else "bthd,bshd->bhts"
    scores = jnp.einsum(product, q, k)  # fault: scores transposed
    if "scale multiplies" in fault:
        scores = scores * math.sqrt(c // 3)  # fault: scale multiplies
    elif "scale by the number of heads" in fault:
        scores = scores / math.sqrt(3)  # fault: scale by the number of heads
    else:
        scores = scores / math.sqrt(c // 3)
    seen = jnp.tril(jnp.ones((t, t), bool), -1 if "diagonal hidden" in fault else 0)
    if "mask of queries" in fault:
        there = mask[:, None, :, None]
    elif "mask upside down" in fault:
        there = ~mask[:, None, None, :]
    else:
        there = mask[:, None, None, :]
    if "causal lost beside padding" in fault:
        scores = jnp.where(there, scores, -1e9)  # fault: causal lost beside padding
    elif "padding lost beside causal" in fault:
        scores = jnp.where(seen, scores, -1e9)  # fault: padding lost beside causal
    elif "one of both will do" in fault:
        scores = jnp.where(seen | there, scores, -1e9)  # fault: one of both will do
    elif "a sign of the exponent" in fault:
        scores = jnp.where(seen & there, scores, -1e-9)  # fault: a sign of the exponent
    else:
        scores = jnp.where(seen & there, scores, -1e9)  # fault: mask of queries, mask upside down, diagonal hidden
    weights = jax.nn.softmax(scores, axis=1 if "softmax over heads" in fault else -1)  # fault: softmax over heads
    merge = "bhts,bshd->bhtd" if "merged as it lies" in fault else "bhts,bshd->bthd"
    y = jnp.einsum(merge, weights, v)  # fault: merged as it lies
    y = y.reshape(b, t, c)
    return y @ params["out"]["w"] + params["out"]["b"]


def grouped_attention(params: Any, x: Array, fault: Faults = ()) -> Array:
    """Four query heads on two key heads, rotary positions by halves, causal, no biases."""
    b, t, _ = x.shape
    groups, each, d = 2, 2, 8

    def rope(y: Array) -> Array:
        base = 1e6 if "another base" in fault else 1e4
        turned = d // 2 if "half of the features turn" in fault else d
        steps = jnp.arange(t) / 2 if "positions at half the pace" in fault else jnp.arange(t) * 1.0
        freqs = base ** -(jnp.arange(0, turned, 2) / turned)
        angles = steps[:, None] * freqs[None]  # fault: another base, positions at half the pace
        sin, cos = jnp.sin(angles)[:, None, :], jnp.cos(angles)[:, None, :]
        if "sine for cosine" in fault:
            sin, cos = cos, sin  # fault: sine for cosine
        if "pairs are neighbours" in fault:
            one, two = y[..., ::2], y[..., 1::2]
            pairs = [one * cos - two * sin, two * cos + one * sin]  # fault: pairs are neighbours
            return jnp.stack(pairs, -1).reshape(y.shape)
        one, two, rest = jnp.split(y, (turned // 2, turned), axis=-1)
        if "turned backwards" in fault:
            sin = -sin  # fault: turned backwards
        if "no minus" in fault:
            return jnp.concatenate([one * cos + two * sin, two * cos + one * sin], -1)  # fault: no minus
        parts = [one * cos - two * sin, two * cos + one * sin, rest]  # fault: half of the features turn
        return jnp.concatenate(parts, -1)

    q = (x @ params["wq"]).reshape(b, t, groups * each, d)
    k = (x @ params["wk"]).reshape(b, t, groups, d)  # fault: keys do not turn
    v = (x @ params["wv"]).reshape(b, t, groups, d)
    q = rope(q)
    if "keys do not turn" not in fault:
        k = rope(k)
    if "values turn too" in fault:
        v = rope(v)  # fault: values turn too
    scale = 32**-0.5 if "scale by the width" in fault else d**-0.5
    tiled = "heads tiled" in fault
    q = q.reshape(b, t, each, groups, d).swapaxes(2, 3) if tiled else q.reshape(b, t, groups, each, d)
    logits = jnp.einsum("btgrd,bsgd->bgrts", q, k) * scale  # fault: scale by the width, heads tiled, not causal
    if "bounded" in fault:
        logits = 5.0 * jnp.tanh(logits / 5.0)  # fault: bounded
    if "not causal" not in fault:
        future = jnp.triu(jnp.ones((t, t), bool), 1)
        if "future for past" in fault:
            logits = jnp.where(future.T, -jnp.inf, logits)  # fault: future for past
        else:
            logits = jnp.where(future, -jnp.inf, logits)
    weights = jax.nn.softmax(logits, axis=-1)
    merge = "bgrts,bsgd->btrgd" if "groups merged last" in fault else "bgrts,bsgd->btgrd"
    y = jnp.einsum(merge, weights, v)  # fault: groups merged last
    return y.reshape(b, t, -1) @ params["wo"]


def rms_norm(params: Any, x: Array, fault: Faults = ()) -> Array:
    """A root mean square norm."""
    eps = 1e-5 if "another eps" in fault else 1e-6
    if "scaled before" in fault:
        x = x * params["scale"]  # fault: scaled before
    if "sum for mean" in fault:
        square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)  # fault: sum for mean
    elif "variance" in fault:
        square = jnp.var(x, axis=-1, keepdims=True)  # fault: variance
    elif "over the tokens" in fault:
        square = jnp.mean(jnp.square(x), axis=1, keepdims=True)  # fault: over the tokens
    elif "over tokens and features" in fault:
        square = jnp.mean(jnp.square(x), axis=(1, 2), keepdims=True)  # fault: over tokens and features
    elif "mean of absolute values" in fault:
        square = jnp.square(jnp.mean(jnp.abs(x), axis=-1, keepdims=True))  # fault: mean of absolute values
    else:
        square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    if "eps outside the root" in fault:
        y = x / (jnp.sqrt(square) + eps)  # fault: eps outside the root
    elif "no root" in fault:
        y = x / (square + eps)  # fault: no root
    elif "centred" in fault:
        y = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(square + eps)  # fault: centred
    else:
        y = x * jax.lax.rsqrt(square + eps)  # fault: another eps
    if "scale from one" in fault:
        return y * (1 + params["scale"])  # fault: scale from one
    if "scale lost" in fault or "scaled before" in fault:
        return y  # fault: scale lost
    return y * params["scale"]


def swiglu(params: Any, x: Array, fault: Faults = ()) -> Array:
    """Gate and expansion packed in one kernel, SiLU, then back."""
    both = x @ params["wi"]
    if "halves exchanged" in fault:
        up, gate = jnp.split(both, 2, axis=-1)  # fault: halves exchanged
    elif "split by neighbours" in fault:
        gate, up = both[..., ::2], both[..., 1::2]  # fault: split by neighbours
    else:
        gate, up = jnp.split(both, 2, axis=-1)
    if "the product is activated" in fault:
        y = jax.nn.silu(gate * up)  # fault: the product is activated
        return y @ params["wo"]
    if "gelu" in fault:
        active = jax.nn.gelu(gate)  # fault: gelu
    elif "sigmoid" in fault:
        active = jax.nn.sigmoid(gate)  # fault: sigmoid
    elif "relu" in fault:
        active = jax.nn.relu(gate)  # fault: relu
    elif "quick gelu" in fault:
        active = gate * jax.nn.sigmoid(1.702 * gate)  # fault: quick gelu
    else:
        active = jax.nn.silu(gate)
    if "expansion is activated too" in fault:
        up = jax.nn.silu(up)  # fault: expansion is activated too
    if "added" in fault:
        y = active + up  # fault: added
    elif "no gate" in fault:
        y = active  # fault: no gate
    else:
        y = active * up
    y = y @ params["wo"]
    if "residual inside" in fault:
        y = y + x  # fault: residual inside
    return y


def squeeze_excite(params: Any, x: Array, fault: Faults = ()) -> Array:
    """Squeeze and excitation of channels last, with a hard sigmoid as in small networks for phones."""
    b, height, width, c = x.shape
    if "maximum for mean" in fault:
        z = jnp.max(x, axis=(1, 2))  # fault: maximum for mean
    elif "largest mean of a row" in fault:
        z = jnp.max(jnp.mean(x, axis=1), axis=1)  # fault: largest mean of a row
    elif "read as channels first" in fault:
        z = jnp.mean(x.reshape(b, c, height, width), axis=(2, 3))  # fault: read as channels first
    else:
        z = jnp.mean(x, axis=(1, 2))
    kernel = params["expand"]["w"].T if "the other kernel transposed" in fault else params["reduce"]["w"]
    hidden = z @ kernel + params["reduce"]["b"]  # fault: the other kernel transposed
    if "silu for relu" in fault:
        active = jax.nn.silu(hidden)  # fault: silu for relu
    elif "hard swish for relu" in fault:
        active = jax.nn.hard_swish(hidden)  # fault: hard swish for relu
    else:
        active = jax.nn.relu(hidden)
    logits = active @ params["expand"]["w"]  # fault: expansion has no bias
    if "expansion has no bias" not in fault:
        logits = logits + params["expand"]["b"]
    if "sigmoid" in fault:
        gate = jax.nn.sigmoid(logits)  # fault: sigmoid
    elif "hard sigmoid with a fifth" in fault:
        gate = jnp.clip(0.2 * logits + 0.5, 0.0, 1.0)  # fault: hard sigmoid with a fifth
    elif "three not added" in fault:
        gate = jax.nn.relu6(logits) / 6.0  # fault: three not added
    elif "not divided by six" in fault:
        gate = jax.nn.relu6(logits + 3.0)  # fault: not divided by six
    elif "hard swish for the gate" in fault:
        gate = jax.nn.hard_swish(logits)  # fault: hard swish for the gate
    else:
        gate = jax.nn.hard_sigmoid(logits)
    if "gate twice" in fault:
        x = x * gate[:, None, None, :]  # fault: gate twice
    if "one minus the gate" in fault:
        gate = 1 - gate  # fault: one minus the gate
    return x * gate[:, None, None, :]


def sagan_attention(params: Any, x: Array, fault: Faults = ()) -> Array:
    """Attention of pixels by convolutions of size 1, with a gate and a residual."""
    b, height, width, c = x.shape

    def conv(name: str) -> Array:
        return jax.lax.conv_general_dilated(
            x, params[name]["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ) + params[name].get("b", 0)

    f, h = conv("f"), conv("h")
    g = conv("f" if "one convolution for both" in fault else "g")  # fault: one convolution for both
    if "keys column by column" in fault:
        g = g.swapaxes(1, 2)  # fault: keys column by column
    f, g = f.reshape(b, height * width, -1), g.reshape(b, height * width, -1)
    if "values as channels first" in fault:
        h = h.reshape(b, c, -1).swapaxes(1, 2)  # fault: values as channels first
    h = h.reshape(b, height * width, c)
    energy = jnp.matmul(f, g.swapaxes(1, 2))
    if "scaled" in fault:
        energy = energy / jnp.sqrt(f.shape[-1])  # fault: scaled
    if "softmax over queries" in fault:
        beta = jax.nn.softmax(energy, axis=1)  # fault: softmax over queries
    elif "sigmoid" in fault:
        beta = jax.nn.sigmoid(energy)  # fault: sigmoid
    elif "no softmax" in fault:
        beta = energy  # fault: no softmax
    else:
        beta = jax.nn.softmax(energy, axis=-1)
    o = (beta.swapaxes(1, 2) if "map transposed" in fault else beta) @ h  # fault: map transposed
    o = o.reshape(b, height, width, c)
    if "gate lost" in fault:
        return o + x  # fault: gate lost
    if "gate of both" in fault:
        return params["gamma"] * (o + x)  # fault: gate of both
    if "gate of the input" in fault:
        return o + params["gamma"] * x  # fault: gate of the input
    if "gate and its rest" in fault:
        return params["gamma"] * o + (1 - params["gamma"]) * x  # fault: gate and its rest
    if "no residual" in fault:
        return params["gamma"] * o  # fault: no residual
    return params["gamma"] * o + x


def cross_attention(params: Any, x: Array, memory: Array, is_padding: Array, fault: Faults = ()) -> Array:
    """Kernels (c, h, d) and (h, d, c) by einsum; ``is_padding`` (b, s) is True where the memory is padding."""
    q_bias = params["q_bias"][0] if "one bias for all heads" in fault else params["q_bias"]
    q = jnp.einsum("btc,chd->bthd", x, params["q"]) + q_bias  # fault: one bias for all heads
    k = jnp.einsum("bsc,chd->bshd", memory, params["k"]) + params["k_bias"]
    v = jnp.einsum("bsc,chd->bshd", memory, params["v"]) + params["v_bias"]
    if "memory shifted by one" in fault:
        k = jnp.roll(k, 1, axis=1)  # fault: memory shifted by one
    if "query scaled twice" in fault:
        q = q / 2.0  # fault: query scaled twice
    if "length taken out" in fault:
        q = q / jnp.linalg.norm(q, axis=-1, keepdims=True)  # fault: length taken out
    logits = jnp.einsum("bthd,bshd->bhts", q, k)
    size = k.shape[1] if "scale by the number of keys" in fault else q.shape[-1]
    logits = logits / jnp.sqrt(size)  # fault: scale by the number of keys
    drop = is_padding[:, None, None, :]
    if "padding alone is seen" in fault:
        logits = jnp.where(drop, logits, -1e9)  # fault: padding alone is seen
    elif "padding is zero" in fault:
        logits = jnp.where(drop, 0.0, logits)  # fault: padding is zero
    elif "mask one too late" in fault:
        logits = jnp.where(jnp.roll(drop, 1, -1).at[..., 0].set(False), -1e9, logits)  # fault: mask one too late
    else:
        logits = jnp.where(drop, -1e9, logits)
    axis = 2 if "softmax over queries" in fault else -1
    weights = jax.nn.softmax(logits, axis=axis)  # fault: softmax over queries
    if "heads averaged" in fault:
        weights = jnp.broadcast_to(weights.mean(1, keepdims=True), weights.shape)  # fault: heads averaged
    context = jnp.einsum("bhts,bshd->bthd", weights, k if "keys for values" in fault else v)  # fault: keys for values
    if "heads in reverse" in fault:
        context = context[:, :, ::-1]  # fault: heads in reverse
    out = jnp.einsum("bthd,hdc->btc", context, params["out"])
    if "output bias lost" in fault:
        return out  # fault: output bias lost
    return out + params["out_bias"]


def llama_layer(params: Any, x: Array, fault: Faults = ()) -> Array:
    """A layer of a Llama: root mean square norms before, rotary attention, SwiGLU."""
    b, t, c = x.shape

    def norm(name: str, y: Array) -> Array:
        return y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + 1e-6) * params[name]

    def attend(y: Array) -> Array:
        q, k, v = (jnp.reshape(y @ params[name], (b, t, 3, 4)) for name in ("q_proj", "k_proj", "v_proj"))
        angles = jnp.arange(t)[:, None] * 10000.0 ** -(jnp.arange(0, 4, 2) / 4)
        angles = jnp.concatenate([angles, angles], -1)[:, None, :]
        q, k = (z * jnp.cos(angles) + jnp.concatenate([-z[..., 2:], z[..., :2]], -1) * jnp.sin(angles) for z in (q, k))
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / 2.0
        if "not causal" not in fault:
            scores = scores + jnp.where(jnp.tril(jnp.ones((t, t))) == 1, 0.0, -1e30)
        weights = jax.nn.softmax(scores, axis=-1)  # fault: not causal
        return jnp.einsum("bhts,bshd->bthd", weights, v).reshape(b, t, c) @ params["o_proj"]

    def feed(y: Array) -> Array:
        gate = y @ params["gate_proj"]
        gate = jax.nn.gelu(gate) if "gelu" in fault else jax.nn.silu(gate)  # fault: gelu
        return (gate * (y @ params["up_proj"])) @ params["down_proj"]

    if "norms after" in fault:
        x = norm("input_norm", x + attend(x))  # fault: norms after
        return norm("post_norm", x + feed(x))  # fault: norms after
    if "norms inside" in fault:
        x = x + norm("input_norm", attend(x))  # fault: norms inside
        return x + norm("post_norm", feed(x))  # fault: norms inside
    if "side by side" in fault:
        return x + attend(norm("input_norm", x)) + feed(norm("post_norm", x))  # fault: side by side
    if "network first" in fault:
        x = x + feed(norm("post_norm", x))  # fault: network first
        return x + attend(norm("input_norm", x))  # fault: network first
    y = norm("input_norm", x)
    attended = attend(y)  # fault: no first residual
    if "no first residual" in fault:
        z = attended
    elif "residual of the norm" in fault:
        z = y + attended  # fault: residual of the norm
    elif "residual halved" in fault:
        z = x + 0.5 * attended  # fault: residual halved
    else:
        z = x + attended
    if "one norm for both" in fault:
        normed = norm("input_norm", z)  # fault: one norm for both
    elif "no second norm" in fault:
        normed = z  # fault: no second norm
    else:
        normed = norm("post_norm", z)
    fed = feed(normed)  # fault: no second residual
    if "no second residual" in fault:
        return fed
    if "normed at the end" in fault:
        return norm("post_norm", z + fed)  # fault: normed at the end
    return z + fed


# what they are -------------------------------------------------------------------------------------------------------


def bound(shapes: Mapping[str, Any]) -> Callable[[Any, str, int], Any]:
    """Makes a layer of a function: parameters of these shapes, at random, in float64, bound to it.

    A shape (…, "scale") is that of factors around 1.
    """

    def fill(shape: Any, rng: np.random.Generator) -> Any:
        if isinstance(shape, Mapping):
            return {name: fill(part, rng) for name, part in shape.items()}
        if shape and shape[-1] == "scale":
            return jnp.asarray(rng.uniform(0.5, 1.4, shape[:-1]))
        return jnp.asarray(rng.normal(0, 0.35 if len(shape) > 1 else 0.5, shape))

    def make(function: Any, fault: str, seed: int) -> Any:
        with jax.enable_x64(True):
            params = fill(shapes, np.random.default_rng(seed))
        return functools.partial(function, params, fault=tuple(fault.split("+")))

    return make


def run(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> np.ndarray:
    with jax.enable_x64(True):
        given = {name: jnp.asarray(value) for name, value in kwargs.items()}
        return np.array(layer(*map(jnp.asarray, args), **given))


def copied(**names: str) -> Callable[[Any], dict[str, np.ndarray]]:
    """The block's weights: ``query="q w b"`` is a part with a kernel and a bias, ``scale="scale"`` one alone."""

    def copy(layer: Any) -> dict[str, np.ndarray]:
        params, found = layer.args[0], dict[str, np.ndarray]()
        for name, said in names.items():
            part, *leaves = said.split()
            if leaves:
                kinds = zip(("kernel", "bias"), leaves, strict=False)
                found |= {f"{name}.{kind}": np.array(params[part][leaf]) for kind, leaf in kinds}
            else:
                found[name.replace("__", ".")] = np.array(params[part])
        return found

    return copy


def alone(name: str) -> Callable[[Mapping[str, Any]], tuple[list[Any], dict[str, Any]]]:
    return lambda inputs: ([inputs[name]], {})


def linear(a: int, b: int) -> dict[str, tuple[int, ...]]:
    return {"w": (a, b), "b": (b,)}


def swiglu_copy(layer: Any) -> dict[str, np.ndarray]:
    gate, up = np.split(np.array(layer.args[0]["wi"]), 2, axis=1)
    return {"gate.kernel": gate, "expand.kernel": up, "reduce.kernel": np.array(layer.args[0]["wo"])}


def sagan_copy(layer: Any) -> dict[str, np.ndarray]:
    found = copied(query="f w b", key="g w b", value="h w b")(layer)
    return {**found, "gate": np.array(layer.args[0]["gamma"])}


def cross_copy(layer: Any) -> dict[str, np.ndarray]:
    p = {name: np.array(y) for name, y in layer.args[0].items()}
    names = {"query": "q", "key": "k", "value": "v"}
    kernels = {f"{name}.kernel": p[short].reshape(-1, 12) for name, short in names.items()}
    biases = {f"{name}.bias": p[f"{short}_bias"].ravel() for name, short in names.items()}
    return {**kernels, **biases, "project.kernel": p["out"].reshape(12, -1), "project.bias": p["out_bias"]}


def draw_attention(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t = int(rng.integers(1, 4)), int(rng.integers(4, 10))
    return {"query": values(rng, b, t, 12), "attention_mask": padding(rng, b, t)[:, None, None, :]}


def draw_cross(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t, s = int(rng.integers(1, 4)), int(rng.integers(2, 7)), int(rng.integers(4, 10))
    mask = padding(rng, b, s)[:, None, None, :]
    return {"query": values(rng, b, t, 12), "key": values(rng, b, s, 10), "attention_mask": mask}


def split_by_neighbours(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    both = np.concatenate([w["gate.kernel"], w["expand.kernel"]], axis=1)
    return {**w, "gate.kernel": both[:, ::2], "expand.kernel": both[:, 1::2]}


def one_bias(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**w, "query.bias": np.tile(w["query.bias"][:4], 3)}


SCORES, MASKED, WEIGHTS = "attention.scores", "attention.masked|attention.weights", "attention.weights"
ANGLES, TURNED = "query_rotary.angles|query_rotary.rotated", "query_rotary.rotated"
INNER_MASKED = "attention.attention.masked|attention.attention.weights"
HALF = np.arange(12).reshape(4, 3).T.ravel()  # head h takes h, h + 3, h + 6, h + 9
REVERSED = np.arange(12).reshape(3, 4)[::-1].ravel()


def F(taps: str, reason: str, option: str = "", **more: Any) -> Planted:
    return Planted(taps=taps, reason=reason, option=option, **more)


WILD = halved(
    Wild(
        cls=attention, block=ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left"), draw=draw_attention,
        inputs={"mask": "(b, s) bool, True = keep"}, run=run,
        call=lambda inputs: ([inputs["query"], inputs["attention_mask"][:, 0, 0]], {}),
        make=bound({name: linear(12, 12) for name in ("query", "key", "value", "out")}),
        copy=copied(query="query w b", key="key w b", value="value w b", project="out w b"),
        faults={
            "one kernel for queries and keys": F("key", "keys are the queries", alias=instead(key="query")),
            "heads by the last axis": F("value", "a head of the values takes every third feature",
                                        alias=columns(HALF, "value.kernel", "value.bias")),
            "scores transposed": F(SCORES, "rows are keys"),
            "scale multiplies": F(SCORES, "scores are multiplied by the root", "option:scale"),
            "scale by the number of heads": F(SCORES, "scores are divided by the root of the heads", "option:scale"),
            "mask of queries": F(MASKED, "rows are hidden for columns"),
            "mask upside down": F(MASKED, "tokens are hidden and padding is seen"),
            "diagonal hidden": F(MASKED, "a query does not see its own key"),
            "causal lost beside padding": F(MASKED, "with padding the future is seen", "option:causal"),
            "padding lost beside causal": F(MASKED, "padding is seen"),
            "one of both will do": F(MASKED, "a key is seen that is past or no padding"),
            "a sign of the exponent": F(MASKED, "hidden scores are -1e-9"),
            "softmax over heads": F(WEIGHTS, "softmax over the heads"),
            "merged as it lies": F("merged", "heads and tokens are not exchanged before they are merged"),
        },
        pairs=("scale by the number of heads+causal lost beside padding", "scores transposed+merged as it lies"),
    ),
    Wild(
        cls=grouped_attention, draw=tokens("query", 32, least=5), call=alone("query"), run=run,
        block=ar.MultiHeadAttention(width=32, num_heads=4, num_kv_heads=2, use_bias=False, output_bias=False,
                                    rotary="half", causal="top_left"),
        make=bound({"wq": (32, 32), "wk": (32, 16), "wv": (32, 16), "wo": (32, 32)}),
        copy=copied(query__kernel="wq", key__kernel="wk", value__kernel="wv", project__kernel="wo"),
        faults={
            "another base": F(ANGLES, "base 1e6 for 1e4", "option:rotary_base"),
            "half of the features turn": F(ANGLES, "only the first half of a head turns", "option:rotary_width"),
            "positions at half the pace": F(ANGLES, "positions are halved", "option:rotary_scaling"),
            "sine for cosine": F(TURNED, "sine and cosine are exchanged"),
            "pairs are neighbours": F(TURNED, "feature 2i turns with 2i + 1", "option:rotary"),
            "turned backwards": F(TURNED, "the angle has the other sign"),
            "no minus": F(TURNED, "a minus is a plus: no rotation"),
            "keys do not turn": F("key_rotary.rotated", "only queries turn"),
            "values turn too": F("value|attention.context", "values turn as keys do"),
            "scale by the width": F(SCORES, "scores are divided by the root of the model's width", "option:scale"),
            "heads tiled": F(SCORES, "query head i reads key head i mod g"),
            "bounded": F("attention.scores|attention.masked", "scores are bounded by 5",
                         "option:softcap"),
            "not causal": F(MASKED, "the future is seen", "option:causal"),
            "future for past": F(MASKED, "the past is hidden"),
            "groups merged last": F("merged", "features come (r, g, d) for (g, r, d)"),
        },
        pairs=("positions at half the pace+bounded", "pairs are neighbours+groups merged last"),
    ),
    Wild(
        cls=rms_norm, block=ar.RMSNorm(width=10), draw=tokens("x", 10, least=4), call=alone("x"), run=run,
        make=bound({"scale": (10, "scale")}), copy=copied(scale="scale"),
        faults={
            "another eps": F("normed", "eps 1e-5 for 1e-6", "option:eps"),
            "scaled before": F("normed", "the scale multiplies before the norm"),
            "sum for mean": F("normed", "the sum of the squares"),
            "variance": F("normed", "the variance for the mean square"),
            "over the tokens": F("normed", "the mean is over the tokens"),
            "over tokens and features": F("normed", "the mean is over tokens and features"),
            "mean of absolute values": F("normed", "the mean of the absolute values"),
            "eps outside the root": F("normed", "eps is added to the root"),
            "no root": F("normed", "divided by the mean square"),
            "centred": F("normed", "the mean is taken away"),
            "scale from one": F("scaled", "the scale is 1 + w", "option:zero_centered",
                                alias=by("scale", lambda y: y + 1)),
            "scale lost": F("scaled", "there is no scale", alias=ones("scale")),
        },
        pairs=("variance+scale lost",),
    ),
    Wild(
        cls=swiglu, block=ar.GatedFeedForward(width=10, hidden_width=14), draw=tokens("x", 10), call=alone("x"),
        run=run, make=bound({"wi": (10, 28), "wo": (14, 10)}), copy=swiglu_copy,
        faults={
            "halves exchanged": F("gate|active", "gate and expansion are exchanged",
                                  alias=instead(gate="expand", expand="gate")),
            "split by neighbours": F("gate|active", "gate and expansion alternate", alias=split_by_neighbours),
            "gelu": F("active", "GELU by tanh for SiLU", "option:activation"),
            "sigmoid": F("active", "the sigmoid for SiLU", "option:activation"),
            "relu": F("active", "ReLU for SiLU", "option:activation"),
            "quick gelu": F("active", "the sigmoid of 1.702 z"),
            "expansion is activated too": F("hidden|gated", "SiLU of the expansion too"),
            "added": F("gated", "a sum for the product"),
            "the product is activated": F("active|gated", "SiLU of the product"),
            "no gate": F("hidden|gated", "the expansion is not used"),
            "residual inside": F("reduced", "the input is added"),
        },
        pairs=("relu+residual inside",),
    ),
    Wild(
        cls=squeeze_excite, block=ar.SqueezeExcitation(channels=10, reduced_width=4, gate="hard_sigmoid"),
        draw=maps(10), call=alone("x"), run=run, make=bound({"reduce": linear(10, 4), "expand": linear(4, 10)}),
        copy=copied(reduce="reduce w b", expand="expand w b"),
        faults={
            "maximum for mean": F("squeezed", "the maximum over space"),
            "largest mean of a row": F("squeezed", "the mean over one axis and the maximum over the other"),
            "read as channels first": F("squeezed", "channels and space are mixed"),
            "the other kernel transposed": F("reduced", "the expansion's kernel, transposed",
                                             alias=lambda w: {**w, "reduce.kernel": w["expand.kernel"].T}),
            "silu for relu": F("active", "SiLU between the linear layers"),
            "hard swish for relu": F("active", "hard swish between the linear layers"),
            "expansion has no bias": F("expanded", "the bias is not added", alias=zeroed("expand.bias")),
            "sigmoid": F("gate", "a sigmoid for the hard one", "option:gate"),
            "hard sigmoid with a fifth": F("gate", "0.2 x + 0.5, clipped"),
            "three not added": F("gate", "relu6(x) / 6"),
            "not divided by six": F("gate", "relu6(x + 3)"),
            "hard swish for the gate": F("gate", "x relu6(x + 3) / 6"),
            "gate twice": F("excited", "the gate multiplies twice"),
            "one minus the gate": F("gate|excited", "1 - gate"),
        },
        pairs=("silu for relu+sigmoid",),
    ),
    Wild(
        cls=sagan_attention, block=ar.SpatialSelfAttention(channels=10, head_width=3), draw=maps(10, most=6),
        call=alone("x"), run=run, copy=sagan_copy,
        make=bound({**{name: {"w": (1, 1, 10, n), "b": (n,)} for name, n in (("f", 3), ("g", 3), ("h", 10))},
                    "gamma": (1, "scale")}),
        faults={
            "one convolution for both": F("key", "keys are the queries", alias=instead(key="query")),
            "keys column by column": F("key|scores", "keys come column by column"),
            "values as channels first": F("value", "channels and space are mixed"),
            "scaled": F("scores", "scores are divided by the root of the width"),
            "softmax over queries": F("weights", "softmax over the queries"),
            "sigmoid": F("weights", "sigmoid for softmax"),
            "no softmax": F("weights", "scores are weights"),
            "map transposed": F("context", "the map is transposed before it is used"),
            "gate lost": F("output", "there is no gate", alias=ones("gate")),
            "gate of both": F("output", "the gate multiplies the input too"),
            "gate of the input": F("output", "the gate multiplies the input, not the context"),
            "gate and its rest": F("output", "the input has the weight 1 - gate"),
            "no residual": F("output", "the input is not added"),
        },
        pairs=("scaled+gate of both",),
    ),
    Wild(
        cls=cross_attention, block=ar.MultiHeadAttention(width=12, num_heads=3, key_width=10), draw=draw_cross,
        inputs={"is_padding": "(b, s) bool, True = drop"}, run=run,
        call=lambda inputs: ([inputs["query"], inputs["key"], ~inputs["attention_mask"][:, 0, 0]], {}),
        make=bound({"q": (12, 3, 4), "k": (10, 3, 4), "v": (10, 3, 4), "out": (3, 4, 12), "q_bias": (3, 4),
                    "k_bias": (3, 4), "v_bias": (3, 4), "out_bias": (12,)}),
        copy=cross_copy,
        faults={
            "keys for values": F("value|attention.context", "keys are summed", alias=instead(value="key")),
            "memory shifted by one": F("key|attention.scores", "keys and values are one apart"),
            "one bias for all heads": F("query", "all heads have the first one's bias", alias=one_bias),
            "query scaled twice": F("query|attention.scores", "queries are scaled as scores are", "option:scale",
                                    alias=together(by("query.kernel", lambda y: y / 2),
                                                   by("query.bias", lambda y: y / 2))),
            "length taken out": F("query|attention.scores", "queries have length 1"),
            "scale by the number of keys": F(SCORES, "scores are divided by the root of the number of keys"),
            "padding alone is seen": F(MASKED, "the memory is hidden and padding is seen"),
            "padding is zero": F(MASKED, "scores of padding are 0"),
            "mask one too late": F(MASKED, "the first key of the padding is seen"),
            "softmax over queries": F(WEIGHTS, "softmax over the queries"),
            "heads averaged": F("attention.weights|attention.context", "all heads have the mean of their weights"),
            "heads in reverse": F("merged", "heads are merged from last to first",
                                  alias=columns(REVERSED, "query.kernel", "query.bias", "key.kernel", "key.bias",
                                                "value.kernel", "value.bias")),
            "output bias lost": F("projected", "the output has no bias", alias=zeroed("project.bias")),
        },
        pairs=("mask one too late+output bias lost",),
    ),
    Wild(
        cls=llama_layer, draw=tokens("x", 12, least=4), call=alone("x"), run=run,
        block=ar.TransformerLayer(
            width=12, norm=ar.RMSNorm(width=12), feed_forward=ar.GatedFeedForward(width=12, hidden_width=16),
            attention=ar.MultiHeadAttention(width=12, num_heads=3, use_bias=False, output_bias=False, rotary="half",
                                            causal="top_left")),
        make=bound({**{f"{name}_proj": (12, 12) for name in "qkvo"}, "gate_proj": (12, 16), "up_proj": (12, 16),
                    "down_proj": (16, 12), "input_norm": (12, "scale"), "post_norm": (12, "scale")}),
        copy=copied(
            attention__query__kernel="q_proj", attention__key__kernel="k_proj", attention__value__kernel="v_proj",
            attention__project__kernel="o_proj", feed_forward__gate__kernel="gate_proj",
            feed_forward__expand__kernel="up_proj", feed_forward__reduce__kernel="down_proj",
            attention_norm__scale="input_norm", feed_forward_norm__scale="post_norm"),
        faults={
            "not causal": F(INNER_MASKED, "the future is seen", "option:causal|option:attention.causal"),
            "gelu": F("feed_forward.active", "GELU by tanh for SiLU",
                      "option:activation|option:feed_forward.activation"),
            "norms after": F("attention_norm.normed|attention.query", "norms after the sums", "option:norm_place"),
            "norms inside": F("attention_norm.normed|attention.query", "norms before the sums", "option:norm_place"),
            "side by side": F("feed_forward_norm.normed|attended|fed", "both read the input", "option:parallel"),
            "network first": F("attention_norm.normed|attention_norm.scaled|attention.query",
                               "the network comes before the attention"),
            "no first residual": F("attended", "the input is not added to the attention"),
            "residual of the norm": F("attended", "the normed input is added"),
            "residual halved": F("attended", "the attention is halved"),
            "one norm for both": F("feed_forward_norm.scaled", "the first norm's scale twice",
                                   alias=instead(feed_forward_norm="attention_norm")),
            "no second norm": F("feed_forward_norm.normed|feed_forward.gate", "the network reads what is not normed"),
            "no second residual": F("fed", "what comes before the network is not added"),
            "normed at the end": F("output", "the sum is normed"),
        },
        pairs=("not causal+no second residual", "residual halved+gelu"),
    ),
)  # fmt: skip
