"""The Keras mirror of attention, compiled, on TensorFlow or on JAX.

Against Keras' own layer and against steps in the engine's own operations, with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
from attn_ref_keras import foreign
from attn_ref_keras.peers import multi_head_attention

import attn_ref as ar
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from benchmarks.timing import Effort, Row, ratios, same

#: batch, length, width, heads; the first shows what starting a compiled function costs
SIZES = [(1, 8, 32, 2), (8, 128, 256, 8), (2, 512, 512, 8)]
AGAINST = "keras.layers.MultiHeadAttention"
HAND = "by hand, one projection"


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
        theirs = foreign.build(multi_head_attention.PEER, block, weights, "float32").layer
        x = generator.normal(size=(b, t, width)).astype("float32")
        cotangent = generator.normal(size=(b, t, width)).astype("float32")
        size = f"b={b} t={t} width={width} heads={heads}"
        hand = Packed(block, weights)
        keep = (np.arange(t) < np.linspace(t, t / 2, b)[:, None])[:, None]
        pairs: list[tuple[str, Any, str, Any, Any]] = [
            ("MultiHeadAttention", mine, AGAINST, theirs, partial(to_itself, theirs)),
            ("MultiHeadAttention", mine, HAND, hand, hand),
            ("MultiHeadAttention, padding mask,", partial(mine, attention_mask=keep[:, None]), AGAINST, theirs,
             partial(to_itself, theirs, attention_mask=keep)),
        ]  # fmt: skip
        compiled = on_tensorflow if engine == "tensorflow" else on_jax
        for name, call, against, layer, call_other in pairs[: None if width <= 256 else 1]:
            others = compiled(layer, call_other, x, cotangent)
            for (case, ours), (_, other) in zip(compiled(mine, call, x, cotangent), others, strict=True):
                for got, wanted in zip(ours()[:2], other()[:2], strict=True):  # output and gradient of the input
                    same(f"{against} on {engine}, {name} {case}", got, wanted)
                aim = 1.0 if engine == "tensorflow" and against == AGAINST and "mask" not in name else None
                yield Row(engine, f"{name} {case}", against, size, aim, **ratios(ours, other, effort))
        yield Row(engine, "control: the last of these", "itself", size, None, **ratios(other, other, effort))


def to_itself(layer: Any, x: Any, **given: Any) -> Any:
    """Self-attention as Keras calls it."""
    return layer(x, x, **given)


class Packed(keras.layers.Layer):
    """Self-attention in the engine's own operations, with one projection for query, key and value."""

    def __init__(self, block: MultiHeadAttention, weights: dict[str, np.ndarray]) -> None:
        super().__init__(dtype="float32")
        self.heads, self.width = block.num_heads, block.width
        packed = {
            leaf: np.concatenate([weights[f"{name}.{leaf}"] for name in ("query", "key", "value")], axis=-1)
            for leaf in ("kernel", "bias")
        }
        values = [packed["kernel"], packed["bias"], weights["project.kernel"], weights["project.bias"]]
        self.own = [self.add_weight(shape=value.shape, initializer="zeros") for value in values]
        for variable, value in zip(self.own, values, strict=True):
            variable.assign(value)
        self.built = True

    def call(self, x: Any) -> Any:
        engine, softmax = operations()
        kernel, bias, project, offset = (variable.value for variable in self.own)
        b, t, _ = x.shape
        split = engine.split(engine.matmul(x, kernel) + bias, 3, axis=-1)
        q, k, v = (engine.transpose(engine.reshape(part, (b, t, self.heads, -1)), (0, 2, 1, 3)) for part in split)
        scores = engine.matmul(q, engine.transpose(k, (0, 1, 3, 2))) * (self.width // self.heads) ** -0.5
        context = engine.transpose(engine.matmul(softmax(scores), v), (0, 2, 1, 3))
        return engine.matmul(engine.reshape(context, (b, t, self.width)), project) + offset


def operations() -> tuple[Any, Any]:
    """TensorFlow or jax.numpy, which name what is used here alike, and its softmax."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf, tf.nn.softmax
    import jax

    return jax.numpy, jax.nn.softmax


Compiled = Iterator[tuple[str, Callable[[], list[Any]]]]


def on_tensorflow(layer: Any, call: Callable[[Any], Any], x: np.ndarray, cotangent: np.ndarray) -> Compiled:
    """As a graph and by XLA."""
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it warns of functions made in a loop
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
