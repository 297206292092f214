"""The Keras mirror of attention against Keras' own layer, with the same weights, compiled: on TensorFlow or on JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
from attn_ref_keras.peers import multi_head_attention

import attn_ref as ar
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from benchmarks.timing import Effort, Row, ratios, same

#: batch, length, width, heads; the first shows what starting a compiled function costs
SIZES = [(1, 8, 32, 2), (8, 128, 256, 8), (2, 512, 512, 8)]
AGAINST = "keras.layers.MultiHeadAttention"


def rows(effort: Effort, tiny: bool) -> Iterator[Row]:
    """Every way to compile, forward and with the gradients of the input and of every weight."""
    engine = keras.backend.backend()
    generator = np.random.default_rng(0)
    for b, t, width, heads in SIZES[:1] if tiny else SIZES:
        block = MultiHeadAttention(width=width, num_heads=heads)
        weights = block.init(seed=0)
        backend = ar.backend(engine)
        mine = backend.build(block, "float32")
        backend.load(mine, {name: value.astype("float32") for name, value in weights.items()})
        theirs = multi_head_attention.build(block, weights, "float32").layer
        x = generator.normal(size=(b, t, width)).astype("float32")
        cotangent = generator.normal(size=(b, t, width)).astype("float32")
        size = f"b={b} t={t} width={width} heads={heads}"
        compiled = on_tensorflow if engine == "tensorflow" else on_jax
        others = compiled(theirs, partial(to_itself, theirs), x, cotangent)
        for (case, ours), (_, other) in zip(compiled(mine, mine, x, cotangent), others, strict=True):
            for got, wanted in zip(ours()[:2], other()[:2], strict=True):  # output and gradient of the input
                same(f"{AGAINST} on {engine}, {case}", got, wanted)
            case = f"MultiHeadAttention {case}"
            yield Row(engine, case, AGAINST, size, 1.0 if engine == "tensorflow" else None,
                      **ratios(ours, other, effort))  # fmt: skip
        yield Row(engine, "control: the last of these", "itself", size, None, **ratios(other, other, effort))


def to_itself(layer: Any, x: Any) -> Any:
    """Self-attention as Keras calls it."""
    return layer(x, x)


Compiled = Iterator[tuple[str, Callable[[], list[Any]]]]


def on_tensorflow(layer: Any, call: Callable[[Any], Any], x: np.ndarray, cotangent: np.ndarray) -> Compiled:
    """As a graph and by XLA."""
    import tensorflow as tf

    for how, jit in (("tf.function", None), ("jit_compile=True", True)):
        given, seed = tf.constant(x), tf.constant(cotangent)

        @tf.function(jit_compile=jit)
        def forward(x: Any) -> Any:
            return [call(x)]

        @tf.function(jit_compile=jit)
        def both(x: Any, seed: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = call(x)
            weights = [v.value for v in layer.trainable_variables]
            return [y, *tape.gradient(y, [x, *weights], output_gradients=seed)]

        yield f"{how}, forward", lambda f=forward, x=given: f(x)  # type: ignore[misc]
        yield f"{how}, forward + backward", lambda f=both, x=given, s=seed: f(x, s)  # type: ignore[misc]


def on_jax(layer: Any, call: Callable[[Any], Any], x: np.ndarray, cotangent: np.ndarray) -> Compiled:
    """By jax.jit, the weights being arguments."""
    import jax

    weights = [v.value for v in layer.trainable_variables]

    def apply(weights: Any, x: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(layer.trainable_variables, weights, strict=True))):
            return call(x)

    @jax.jit
    def forward(weights: Any, x: Any) -> Any:
        return [apply(weights, x)]

    @jax.jit
    def both(weights: Any, x: Any, seed: Any) -> Any:
        y, back = jax.vjp(apply, weights, x)
        kernels, dx = back(seed)
        return [y, dx, kernels]

    given, seed = jax.numpy.asarray(x), jax.numpy.asarray(cotangent)
    yield "jax.jit, forward", lambda: jax.block_until_ready(forward(weights, given))
    yield "jax.jit, forward + backward", lambda: jax.block_until_ready(both(weights, given, seed))
