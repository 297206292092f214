"""Layers as people write them in flax, nnx modules and a bound linen module, each with the faults that people make.

Written here, in the styles that are seen in public; no code is copied. See ``corpus`` for how they are told.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

import attn_ref as ar

from .corpus import Planted, Wild, halved, padding, tokens, values
from .weights import instead

WIDTH, HEADS, HIDDEN = 12, 3, 20


class NnxAttention(nnx.Module):
    """Causal self-attention by four ``nnx.Linear``."""

    def __init__(self, fault: str = "", *, rngs: nnx.Rngs) -> None:
        self.fault = tuple(fault.split("+"))
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nnx.Linear(WIDTH, WIDTH, param_dtype=jnp.float64, rngs=rngs) for _ in range(4)
        )

    def __call__(self, x: Any) -> Any:
        b, t, _ = x.shape
        q = self.q_proj(x).reshape(b, t, HEADS, -1)
        k_proj = self.q_proj if "keys by the queries' layer" in self.fault else self.k_proj
        k = k_proj(x).reshape(b, t, HEADS, -1)  # fault: keys by the queries' layer
        v = self.v_proj(x).reshape(b, t, HEADS, -1)
        width = WIDTH if "scale by the width" in self.fault else q.shape[-1]
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)  # fault: no scale
        if "no scale" not in self.fault:
            scores = scores / jnp.sqrt(width)  # fault: scale by the width, not causal
        if "scaled twice" in self.fault:
            scores = scores / jnp.sqrt(width)  # fault: scaled twice
        seen = nnx.make_causal_mask(x[..., 0])  # (b, 1, t, t)
        if "mask upside down" in self.fault:
            scores = jnp.where(seen, -1e9, scores)  # fault: mask upside down
        elif "weak mask" in self.fault:
            scores = jnp.where(seen, scores, -3.0)  # fault: weak mask
        elif "not causal" not in self.fault:
            scores = jnp.where(seen, scores, -1e9)
        axis = -2 if "softmax over queries" in self.fault else -1
        weights = nnx.softmax(scores, axis=axis)  # fault: softmax over queries
        order = "bhqk,bkhd->bhqd" if "merged as it lies" in self.fault else "bhqk,bkhd->bqhd"
        y = jnp.einsum(order, weights, v)  # fault: merged as it lies
        return self.o_proj(y.reshape(b, t, WIDTH))


class NnxBlock(nnx.Module):
    """A pre-norm encoder layer, queries, keys and values packed; ``mask`` (b, t) is True where there is a token."""

    def __init__(self, fault: str = "", *, rngs: nnx.Rngs) -> None:
        self.fault = tuple(fault.split("+"))
        kept: dict[str, Any] = {"param_dtype": jnp.float64, "rngs": rngs}
        eps = 1e-3 if "another eps" in self.fault else 1e-6
        self.norm1, self.norm2 = (nnx.LayerNorm(WIDTH, epsilon=eps, **kept) for _ in range(2))
        self.qkv, self.out = nnx.Linear(WIDTH, 3 * WIDTH, **kept), nnx.Linear(WIDTH, WIDTH, **kept)
        self.up, self.down = nnx.Linear(WIDTH, HIDDEN, **kept), nnx.Linear(HIDDEN, WIDTH, **kept)

    def attend(self, x: Any, mask: Any) -> Any:
        q, k, v = (y.reshape(*x.shape[:2], HEADS, -1) for y in jnp.split(self.qkv(x), 3, axis=-1))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5  # fault: mask lost
        if "mask upside down" in self.fault:
            scores = jnp.where(mask[:, None, None, :], -1e9, scores)  # fault: mask upside down
        elif "mask of queries" in self.fault:
            scores = jnp.where(mask[:, None, :, None], scores, -1e9)  # fault: mask of queries
        elif "mask lost" not in self.fault:
            scores = jnp.where(mask[:, None, None, :], scores, -1e9)
        return self.out(jnp.einsum("bhqk,bkhd->bqhd", nnx.softmax(scores), v).reshape(x.shape))

    def feed(self, x: Any) -> Any:
        y = self.up(x)
        if "gelu by erf" in self.fault:
            y = nnx.gelu(y, approximate=False)  # fault: gelu by erf
        elif "relu" in self.fault:
            y = nnx.relu(y)  # fault: relu
        else:
            y = nnx.gelu(y)
        return self.down(y)

    def __call__(self, x: Any, mask: Any) -> Any:
        if "post-norm" in self.fault:
            x = self.norm1(x + self.attend(x, mask))  # fault: post-norm
            return self.norm2(x + self.feed(x))  # fault: post-norm
        y = self.norm1(x)  # fault: another eps
        attended = self.attend(y, mask)
        z = attended + (y if "residual of the norm" in self.fault else x)  # fault: residual of the norm
        norm2 = self.norm1 if "one norm for both" in self.fault else self.norm2
        fed = self.feed(norm2(z))  # fault: one norm for both, no second residual
        return fed if "no second residual" in self.fault else z + fed


class LinenAttention(nn.Module):
    """Cross-attention by ``DenseGeneral``; ``bind`` gives it its parameters."""

    fault: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x: Any, memory: Any) -> Any:
        def project(name: str) -> Any:
            return nn.DenseGeneral((HEADS, WIDTH // HEADS), param_dtype=jnp.float64, name=name)

        query, key, value = project("query"), project("key"), project("value")
        out = nn.DenseGeneral(WIDTH, axis=(-2, -1), param_dtype=jnp.float64, name="out")
        q, k, v = query(x), key(memory), value(memory)
        if "keys for values" in self.fault:
            v = k  # fault: keys for values
        if "keys shifted by one" in self.fault:
            k = jnp.roll(k, 1, axis=1)  # fault: keys shifted by one
        product = jnp.einsum("...qhd,...khd->...hqk", q, k)
        by = k.shape[1] if "scale by the number of keys" in self.fault else q.shape[-1]
        power = 0.5 if "scale multiplies" in self.fault else -0.5
        scores = product * by**power  # fault: scale by the number of keys, scale multiplies
        if "sigmoid" in self.fault:
            weights = nn.sigmoid(scores)  # fault: sigmoid
        else:
            axis = -3 if "softmax over heads" in self.fault else -1
            weights = nn.softmax(scores, axis=axis)  # fault: softmax over heads
        if "weights squared" in self.fault:
            weights = weights**2  # fault: weights squared
        y = out(jnp.einsum("...hqk,...khd->...qhd", weights, v))
        if "residual inside" in self.fault:
            y = y + x  # fault: residual inside
        return y


# what they are -------------------------------------------------------------------------------------------------------


def filled(path: Any, leaf: Any, seed: int) -> Any:
    """Numbers off 0 and 1, the same for the same name."""
    name = "/".join(str(getattr(part, "key", getattr(part, "name", part))) for part in path)
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    if "scale" in name:
        return jnp.asarray(rng.uniform(0.5, 1.4, leaf.shape))
    return jnp.asarray(rng.normal(0, 0.4 if "kernel" in name else 0.5, leaf.shape))


def make_nnx(cls: Any, fault: str, seed: int) -> Any:
    with jax.enable_x64(True):
        layer = cls(fault, rngs=nnx.Rngs(0))
        state = nnx.state(layer, nnx.Param)
        nnx.update(layer, jax.tree_util.tree_map_with_path(lambda path, leaf: filled(path, leaf, seed), state))
    return layer


def make_linen(cls: Any, fault: str, seed: int) -> Any:
    with jax.enable_x64(True):
        layer = cls(tuple(fault.split("+")))
        variables = layer.init(jax.random.key(0), jnp.ones((2, 4, WIDTH)), jnp.ones((2, 5, 10)))
        return layer.bind(jax.tree_util.tree_map_with_path(lambda path, leaf: filled(path, leaf, seed), variables))


def run(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> np.ndarray:
    with jax.enable_x64(True):
        given = {name: jnp.asarray(value) for name, value in kwargs.items()}
        return np.array(layer(*map(jnp.asarray, args), **given))


def part(params: Any, name: str) -> dict[str, np.ndarray]:
    """A linear layer (in, out), or one by head: (in, h, d), and (h, d, out) for the last one."""
    kernel, bias = np.array(params["kernel"]), np.array(params["bias"])
    wide = (-1, kernel.shape[-1]) if name.endswith("project") else (kernel.shape[0], -1)
    return {f"{name}.kernel": kernel.reshape(wide), f"{name}.bias": bias.ravel()}


def parts(params: Any, **names: str) -> dict[str, np.ndarray]:
    """``parts(params, query="q_proj", …)``."""
    return {k: v for name, said in names.items() for k, v in part(params[said], name).items()}


def of_nnx(layer: Any) -> Any:
    return nnx.to_pure_dict(nnx.state(layer, nnx.Param))


def block_copy(layer: Any) -> dict[str, np.ndarray]:
    params = of_nnx(layer)
    found = parts(params, **{"attention.project": "out"})
    kernels = np.split(np.array(params["qkv"]["kernel"]), 3, axis=1)
    biases = np.split(np.array(params["qkv"]["bias"]), 3)
    for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
        found |= {f"attention.{name}.kernel": kernel, f"attention.{name}.bias": bias}
    found |= parts(params, **{"feed_forward.expand": "up", "feed_forward.reduce": "down"})
    for name, said in (("attention_norm", "norm1"), ("feed_forward_norm", "norm2")):
        found |= {f"{name}.scale": np.array(params[said]["scale"]), f"{name}.offset": np.array(params[said]["bias"])}
    return found


def linen_copy(layer: Any) -> dict[str, np.ndarray]:
    return parts(layer.variables["params"], query="query", key="key", value="value", project="out")


def alone(name: str) -> Callable[[Mapping[str, Any]], tuple[list[Any], dict[str, Any]]]:
    return lambda inputs: ([inputs[name]], {})


def draw_padded(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t = int(rng.integers(1, 4)), int(rng.integers(4, 10))
    return {"x": values(rng, b, t, WIDTH), "attention_mask": padding(rng, b, t)[:, None, None, :]}


def draw_memory(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t, s = int(rng.integers(1, 4)), int(rng.integers(2, 7)), int(rng.integers(4, 10))
    return {"query": values(rng, b, t, WIDTH), "key": values(rng, b, s, 10)}


def F(taps: str, reason: str, option: str = "", **more: Any) -> Planted:
    return Planted(taps=taps, reason=reason, option=option, **more)


SCORES, MASKED, WEIGHTS = "attention.scores", "attention.masked|attention.weights", "attention.weights"
INNER_MASKED = "attention.attention.masked|attention.attention.weights"

WILD = halved(
    Wild(
        cls=NnxAttention, block=ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, causal="top_left"),
        draw=tokens("query", WIDTH, least=4), call=alone("query"), make=make_nnx, run=run,
        copy=lambda m: parts(of_nnx(m), query="q_proj", key="k_proj", value="v_proj", project="o_proj"),
        faults={
            "keys by the queries' layer": F("key", "queries and keys share a layer", alias=instead(key="query")),
            "no scale": F(SCORES, "scores are not scaled", "option:scale"),
            "scale by the width": F(SCORES, "scores are divided by the root of the model's width", "option:scale"),
            "scaled twice": F(SCORES, "scores are divided by the root of the head width twice", "option:scale"),
            "not causal": F(MASKED, "the future is seen", "option:causal"),
            "mask upside down": F(MASKED, "a query sees the future and not the past"),
            "weak mask": F(MASKED, "hidden keys have a score of -3"),
            "softmax over queries": F(WEIGHTS, "softmax over the queries"),
            "merged as it lies": F("merged", "heads and tokens are not exchanged before they are merged"),
        },
        pairs=("scale by the width+merged as it lies",),
    ),
    Wild(
        cls=NnxBlock, draw=draw_padded, make=make_nnx, run=run, copy=block_copy,
        block=ar.EncoderLayer(width=WIDTH, num_heads=HEADS, hidden_width=HIDDEN, activation="gelu_tanh",
                              norm_first=True, eps=1e-6),
        inputs={"mask": "(b, t) bool, True = keep"},
        call=lambda inputs: ([inputs["x"], inputs["attention_mask"][:, 0, 0]], {}),
        faults={
            "another eps": F("attention_norm", "eps is 1e-3", "option:eps"),
            "mask upside down": F(INNER_MASKED, "tokens are hidden and padding is seen"),
            "mask of queries": F(INNER_MASKED, "rows are hidden for columns"),
            "mask lost": F(INNER_MASKED, "the mask is not used"),
            "gelu by erf": F("feed_forward.active", "GELU with the error function", "option:activation"),
            "relu": F("feed_forward.active", "ReLU for GELU", "option:activation"),
            "post-norm": F("attention_norm|attention.query", "norms after the sums", "option:norm_first"),
            "residual of the norm": F("attended", "the normed input is added"),
            "one norm for both": F("feed_forward_norm", "the first norm twice",
                                   alias=instead(feed_forward_norm="attention_norm")),
            "no second residual": F("fed", "what comes before the network is not added"),
        },
        pairs=("mask lost+no second residual",),
    ),
    Wild(
        cls=LinenAttention, block=ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, key_width=10), draw=draw_memory,
        call=lambda inputs: ([inputs["query"], inputs["key"]], {}), make=make_linen, run=run, copy=linen_copy,
        faults={
            "keys for values": F("value|attention.context", "keys are summed", alias=instead(value="key")),
            "keys shifted by one": F("key|attention.scores", "keys and values are one apart"),
            "scale multiplies": F(SCORES, "scores are multiplied by the root", "option:scale"),
            "scale by the number of keys": F(SCORES, "scores are divided by the root of the number of keys"),
            "sigmoid": F(WEIGHTS, "sigmoid for softmax"),
            "softmax over heads": F(WEIGHTS, "softmax over the heads"),
            "weights squared": F("attention.weights|attention.context", "weights are squared after the softmax"),
            "residual inside": F("projected", "the query is added"),
        },
    ),
)  # fmt: skip
