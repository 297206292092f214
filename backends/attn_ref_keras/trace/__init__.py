"""Tracing a layer of Keras on TensorFlow or JAX: every operation with its value and the line that caused it.

A copy in float64 runs where the layer's configuration gives one; otherwise the layer itself does, in its own dtype.
Nothing of the layer changes. On JAX the steps are those of the jaxpr, as ``attn_ref_jax`` walks it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import keras
import numpy as np

from attn_ref.trace.copies import Double
from attn_ref.trace.flow import telling
from attn_ref.trace.record import Trace, users_line
from attn_ref.trace.slope import STEP, Slope
from attn_ref.trace.store import LIMIT, Store
from attn_ref_keras.trace.copies import Copy, by_name, double, floats, on, wide

__all__ = ["CHANNELS_LAST", "double", "outputs", "shape", "slopes", "trace"]
#: where channels stand
CHANNELS_LAST = True


def trace(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = LIMIT) -> Trace:
    """Run ``layer``, which ``double`` gave, on NumPy arrays and record everything; nothing with a ``limit`` of 0."""
    if on("jax"):
        return on_jax(layer, args, kwargs, limit)
    if not on("tensorflow"):
        raise NotImplementedError("layers of Keras are traced on TensorFlow and JAX: KERAS_BACKEND=tensorflow or jax")
    from tensorflow.python.framework import op_callbacks

    real = layer.made if isinstance(layer, Copy) else layer
    dtype = "float64" if isinstance(layer, Copy | Double) else layer.compute_dtype
    given = [lift(x, dtype) for x in args]
    named = {name: lift(x, dtype) for name, x in kwargs.items()}
    if not limit:
        return Trace([], layer(*given, **named))
    if not getattr(layer, "loaded", False):
        layer(*given, **named)  # what is made at the first call is made
    store = Store(limit)
    store.start(x.numpy() for x in (*given, *named.values()) if hasattr(x, "numpy"))
    files = home(real)
    read: set[int] = set()
    # what an operation takes as a whole, such as a compiled one, is read before: to read it is an operation too
    held = {id_of(getattr(w.value, "handle", None)): w.value.numpy() for w in getattr(real, "weights", ())}
    held.pop(0, None)

    def callback(op: Any, inputs: Any, attrs: Any, outputs: Any, *_: Any, **__: Any) -> None:
        name = op.decode() if isinstance(op, bytes) else str(op)
        read.update(id_of(x) for x in inputs)
        frame = sys._getframe(1)
        line = users_line(frame, files)
        layers = running(frame)
        path = "/".join(x.name for x in layers) if telling() else ""
        name = f"{name} in layer {layers[-1].name!r}" if layers else name
        kept = [held[n] for n in map(id_of, inputs) if n in held]
        came = store.came(lambda: [*(x.numpy() for x in inputs if plain(x)), *kept])
        for x in outputs:
            if hasattr(x, "numpy") and "float" in str(x.dtype.name):
                store.add(name, np.asarray(x.numpy(), np.float64), line, x.dtype.size < 8, came, path)
            elif plain(x):
                store.carry(x.numpy, came)

    with op_callbacks_of(op_callbacks, callback):
        output = layer(*given, **named)
    own = by_name(real.weights) if hasattr(real, "weights") else real.parameters
    parameters = {name: np.array(keras.ops.convert_to_numpy(w), np.float64) for name, w in own.items()}
    handles = {name: id_of(getattr(getattr(w, "value", None), "handle", None)) for name, w in own.items()}
    unused = [name for name, number in handles.items() if number and number not in read]
    store.narrow = store.narrow or dtype != "float64"
    return store.trace(output, unused, parameters)


def on_jax(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int) -> Trace:
    """The same where Keras computes with JAX."""
    from attn_ref_jax import trace as jax_trace

    if isinstance(layer, jax_trace.Pure):
        with wide():
            return jax_trace.trace(layer, args, kwargs, limit)
    with wide():
        layer(*(lift(x, "float64") for x in args), **{name: lift(x, "float64") for name, x in kwargs.items()})
    real = layer.made if isinstance(layer, Copy) else layer
    held = by_name(real.weights)

    def function(own: Sequence[Any], *given: Any, **named: Any) -> Any:
        now = {id(v): x for v, x in zip(held.values(), own, strict=True)}
        trained = [now[id(v)] for v in real.trainable_variables]
        others = [now.get(id(v), v.value) for v in real.non_trainable_variables]
        return real.stateless_call(trained, others, *given, **named)[0]

    with wide():
        values = {name: v.value for name, v in held.items()}
        return jax_trace.traced(function, values, args, kwargs, home(real), limit)


class op_callbacks_of:
    """While it lasts, TensorFlow tells a function of every operation."""

    def __init__(self, module: Any, callback: Any) -> None:
        self.module, self.callback = module, callback

    def __enter__(self) -> None:
        self.module.add_op_callback(self.callback)

    def __exit__(self, *_: object) -> None:
        self.module.remove_op_callback(self.callback)


def plain(x: Any) -> bool:
    """Has a tensor of TensorFlow numbers, or bools?"""
    return hasattr(x, "numpy") and x.dtype.name not in ("resource", "variant", "string")


def id_of(x: Any) -> int:
    """The number by which TensorFlow knows a tensor."""
    return int(getattr(x, "_id", 0) or 0)


def running(frame: FrameType | None) -> list[Any]:
    """The layers of Keras that run, the outermost first."""
    found: list[Any] = []
    while frame is not None:
        if frame.f_code.co_name == "__call__":
            one = frame.f_locals.get("self")
            if isinstance(one, keras.layers.Layer) and (not found or found[-1] is not one):
                found.append(one)
        frame = frame.f_back
    return found[::-1]


def home(layer: Any) -> set[str]:
    """The files in which the classes of a layer and of those inside stand, but for leaves such as a dense layer."""
    if not isinstance(layer, keras.layers.Layer):
        return set()
    every = [layer, *layer._flatten_layers(include_self=False)]
    holders = [one for one in every if len(one._flatten_layers(include_self=False)) > 0]
    found = [inspect.unwrap(type(one).call) for one in holders or [layer]]
    files = {call.__code__.co_filename for call in found if hasattr(call, "__code__")}
    return {file for file in files if "keras/src/models" not in file.replace("\\", "/")}


def shape(layer: Any) -> tuple[int | None, ...] | None:
    """The shape of the one input that a model says it takes; None where it does not say."""
    inputs = getattr(layer, "inputs", None)
    return tuple(inputs[0].shape) if isinstance(inputs, list) and len(inputs) == 1 else None


def lift(x: Any, dtype: str) -> Any:
    """A tensor of an array, reals in ``dtype``; anything else stays."""
    if not isinstance(x, np.ndarray):
        return x
    return keras.ops.convert_to_tensor(x, dtype if x.dtype.kind == "f" else None)


def outputs(result: Any) -> list[np.ndarray]:
    """The real tensors in what came out, the first of them first."""
    leaves = keras.tree.flatten(result)
    return [np.array(keras.ops.convert_to_numpy(x), np.float64) for x in leaves if floats(x)]


def slopes(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], seed: int) -> list[Slope]:
    """Of every weight and real input, along a random direction: the slope by TensorFlow and by central differences."""
    if not isinstance(layer, Copy) or not on("tensorflow"):
        raise NotImplementedError("slopes are taken of layers on TensorFlow that have a copy in float64")
    import tensorflow as tf

    random = np.random.default_rng(seed)
    given: list[Any] = [lift(x, "float64") for x in args]
    named = {name: lift(x, "float64") for name, x in kwargs.items()}
    layer(*given, **named)
    made = [w for w in layer.made.weights if "float" in str(w.dtype)]
    trains = {id(w) for w in layer.made.trainable_weights}
    inputs = [i for i, x in enumerate(given) if floats(x)]
    ways = [random.uniform(-0.5, 0.5, tuple(x.shape)) for x in [*made, *(given[i] for i in inputs)]]
    toward: list[np.ndarray] = []

    def value() -> Any:
        first = next(x for x in keras.tree.flatten(layer(*given, **named)) if floats(x))
        if not toward:
            toward.append(random.uniform(-0.5, 0.5, tuple(first.shape)))
        return tf.reduce_sum(tf.cast(first, "float64") * toward[0])

    def step(i: int, by: float) -> None:
        if i < len(made):
            made[i].assign_add(by * ways[i])
        else:
            given[inputs[i - len(made)]] += by * ways[i]

    with tf.GradientTape() as tape:
        for i in inputs:
            tape.watch(given[i])
        total = value()
    found = tape.gradient(total, [*(w.value for w in made), *(given[i] for i in inputs)])
    told: list[Slope] = []
    for i, gradient in enumerate(found):
        points = []
        for by in (STEP, -2 * STEP, STEP):
            step(i, by)
            points.append(float(value()))
        slope = None if gradient is None else float(np.sum(np.array(tf.convert_to_tensor(gradient)) * ways[i]))
        name = made[i].path if i < len(made) else f"input {inputs[i - len(made)]}"
        told.append(Slope(name, slope, (points[0] - points[1]) / (2 * STEP), i >= len(made) or id(made[i]) in trains))
    return told
