"""The NumPy definition of attention against its two bare matrix products, and against plain lines of NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import attn_ref as ar
from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from benchmarks.timing import Call, Effort, Row, ratios, same

BARE, PLAIN = "its two np.matmul", "plain lines of NumPy"


def rows(effort: Effort, tiny: bool) -> Iterator[Row]:
    """Forward in float32, with nothing else, masked, with a bias, causal, and with its taps recorded."""
    shape = (1, 2, 8, 4) if tiny else (2, 8, 512, 64)
    generator = np.random.default_rng(0)
    q, k, v = (generator.normal(size=shape).astype("float32") for _ in range(3))
    block = ScaledDotProductAttention()
    causal = ScaledDotProductAttention(causal="top_left")
    with ar.record() as taps:
        block({}, q, k, v)
    weights = taps["weights"].value

    def bare() -> tuple[np.ndarray, np.ndarray]:
        return np.matmul(q, k.swapaxes(-1, -2)), np.matmul(weights, v)

    def recorded() -> None:
        with ar.record():
            block({}, q, k, v)

    for name, product in zip(("scores", "context"), bare(), strict=True):
        same(name, taps[name].value, product * (block.factor(*shape[1::2]) if name == "scores" else 1.0))
    lengths = np.linspace(shape[2], shape[2] / 2, shape[0])
    padding = (np.arange(shape[2]) < lengths[:, None])[:, None, None, :]
    random = generator.random((shape[0], 1, shape[2], shape[2])) < 0.7
    random[..., 0] = True  # plain lines give NaN where there is nothing to attend to
    bias = generator.normal(size=(1, *shape[1:3], shape[2])).astype("float32")
    calls: dict[str, Call] = {
        "forward": lambda: block({}, q, k, v),
        "forward, padding mask": lambda: block({}, q, k, v, attention_mask=padding),
        "forward, random mask": lambda: block({}, q, k, v, attention_mask=random),
        "forward, bias": lambda: block({}, q, k, v, bias=bias),
        "forward, causal": lambda: causal({}, q, k, v),
        "forward, taps recorded": recorded,
    }
    others: dict[str, Call] = {
        "forward": lambda: plain(q, k, v),
        "forward, padding mask": lambda: plain(q, k, v, padding),
        "forward, random mask": lambda: plain(q, k, v, random),
        "forward, bias": lambda: plain(q, k, v, bias=bias),
        "forward, causal": lambda: plain(q, k, v, np.tril(np.ones((shape[2], shape[2]), bool))),
    }
    size = "b={} h={} t={} d={}".format(*shape)
    yield Row("numpy", "control: the products", BARE, size, None, **ratios(bare, bare, effort))
    for name, call in calls.items():
        aim = 2.0 if name == "forward" else None
        yield Row("numpy", f"ScaledDotProductAttention {name}", BARE, size, aim, **ratios(call, bare, effort))
    for name, other in others.items():
        call = calls[name]
        same(name, call(), other())
        yield Row("numpy", f"ScaledDotProductAttention {name}", PLAIN, size, 1.0, **ratios(call, other, effort))
    small = [x[:1, :2, :8, :4] for x in (q, k, v)]
    figures = ratios(lambda: block({}, *small), lambda: plain(*small), effort)
    yield Row("numpy", "ScaledDotProductAttention forward", PLAIN, "b=1 h=2 t=8 d=4", None, **figures)


def plain(q: Any, k: Any, v: Any, keep: Any = None, bias: Any = None) -> Any:
    """Attention as one writes it down, each step a new array."""
    scores = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if keep is not None:
        scores = np.where(keep, scores, np.float32(-np.inf))
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True) @ v
