"""The NumPy definition of attention against its two bare matrix products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import attn_ref as ar
from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from benchmarks.timing import Call, Effort, Row, ratios, same

BARE = "its two np.matmul"


def rows(effort: Effort, tiny: bool) -> Iterator[Row]:
    """Forward in float32, with nothing else, masked, causal, and with its taps recorded."""
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
    cases: list[tuple[str, Call, float | None]] = [
        ("control: the products", bare, None),
        ("forward", lambda: block({}, q, k, v), 2.0),
        ("forward, padding mask", lambda: block({}, q, k, v, attention_mask=padding), None),
        ("forward, random mask", lambda: block({}, q, k, v, attention_mask=random), None),
        ("forward, causal", lambda: causal({}, q, k, v), None),
        ("forward, taps recorded", recorded, None),
    ]
    size = "b={} h={} t={} d={}".format(*shape)
    for name, call, aim in cases:
        case = name if name.startswith("control") else f"ScaledDotProductAttention {name}"
        yield Row("numpy", case, BARE, size, aim, **ratios(call, bare, effort))
