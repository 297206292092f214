"""Gradients of a mirror by the engine's own differentiation: TensorFlow's tape, JAX's vjp."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from attn_ref.backend import Run
from attn_ref.tap import Probe, Tapped, probe
from attn_ref_keras.codec import places, to_numpy
from attn_ref_keras.run import lift, lift_tapped, quietly, scoped


class Zeros(Probe):
    """Adds to every tap what ``zero(name, value)`` gives, to which the gradient is asked for."""

    def __init__(self, zero: Callable[[str, Any], Any], replace: Mapping[str, Tapped] | None) -> None:
        super().__init__(replace=replace, lift=lift_tapped)
        self.zero = zero

    def __call__(self, name: str, value: Any, labels: str) -> Any:
        value = super().__call__(name, value, labels)
        return value + self.zero(next(reversed(self.seen)), value)


def gradients(
    layer: Any,
    inputs: Mapping[str, np.ndarray],
    cotangent: np.ndarray,
    *,
    observe: bool,
    replace: Mapping[str, Tapped] | None,
) -> Run:
    """See ``attn_ref.backend.Backend.gradients``."""
    given = {name: lift(value, layer.compute_dtype) for name, value in inputs.items()}
    reals = [name for name, value in inputs.items() if value.dtype.kind == "f"]
    differentiate = {"tensorflow": by_tape, "jax": by_vjp}[keras.backend.backend()]
    with quietly():
        output, listener, found = differentiate(layer, given, reals, cotangent, observe, replace)
    taps = {name: Tapped(to_numpy(value), labels) for name, (value, labels) in listener.seen.items()}
    arrays = {name: to_numpy(value) for name, value in found.items()}
    return Run(to_numpy(output), taps, arrays, keras.backend.standardize_dtype(output.dtype))


def call(layer: Any, given: Mapping[str, Any], listener: Probe, observe: bool) -> Any:
    """``layer`` on ``given``, heard by ``listener`` if it is to observe."""
    with ExitStack() as stack:
        if observe:
            stack.enter_context(scoped(layer))
            stack.enter_context(probe(listener))
        return layer(**given)


def by_tape(
    layer: Any, given: dict[str, Any], reals: list[str], cotangent: np.ndarray, observe: bool, replace: Any
) -> tuple[Any, Probe, dict[str, Any]]:
    """On TensorFlow."""
    import tensorflow as tf

    zeros: dict[str, Any] = {}
    with tf.GradientTape() as tape:

        def zero(name: str, value: Any) -> Any:
            zeros[name] = tf.zeros_like(value)
            tape.watch(zeros[name])
            return zeros[name]

        for name in reals:
            tape.watch(given[name])
        listener = Zeros(zero, replace)
        output = call(layer, given, listener, observe)
    leaves = {f"input {name}": given[name] for name in reals}
    leaves |= {f"tap {name}": value for name, value in zeros.items()}
    leaves |= {f"parameter {name}": variable.value for name, variable in places(layer)}
    seed = tf.convert_to_tensor(cotangent, output.dtype)
    found = tape.gradient(output, leaves, seed, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return output, listener, {name: tf.convert_to_tensor(value) for name, value in found.items()}


def by_vjp(
    layer: Any, given: dict[str, Any], reals: list[str], cotangent: np.ndarray, observe: bool, replace: Any
) -> tuple[Any, Probe, dict[str, Any]]:
    """On JAX: traced once to learn the taps' shapes, then run as a function of parameters, inputs and zeros at taps."""
    import jax
    import jax.numpy as jnp

    replace = replace or {}
    shapes = Probe(replace=replace, lift=lift_tapped)
    jax.eval_shape(lambda given: call(layer, given, shapes, observe), given)
    leaves = {
        "parameter": {name: variable.value for name, variable in places(layer)},
        "input": {name: given[name] for name in reals},
        "tap": {name: jnp.zeros(value.shape, layer.compute_dtype) for name, (value, _) in shapes.seen.items()},
    }
    others = {name: value for name, value in given.items() if name not in reals}
    masks = {name: tapped.value for name, tapped in replace.items()}
    labels = tuple((name, tapped.labels) for name, tapped in replace.items())
    both = compiled(Kept(layer), layer.block, layer.compute_dtype, observe, labels)
    output, taps, found = both(leaves, others, masks, jnp.asarray(cotangent))
    heard = Probe()
    heard.seen = {name: Tapped(taps[name], seen.labels) for name, seen in shapes.seen.items()}
    return output, heard, {f"{kind} {name}": g for kind, part in found.items() for name, g in part.items()}


class Kept:
    """A layer that does not count in a cache's key: every layer of a block serves, its parameters being arguments."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=512)
def compiled(kept: Kept, block: Any, dtype: str, observe: bool, labels: tuple[tuple[str, str], ...]) -> Any:
    """A block's forward and backward pass as one jitted function: step by step each operation is compiled by itself."""
    import jax

    layer = kept.layer

    def function(leaves: Any, others: Any, masks: Any) -> Any:
        replace = {name: Tapped(masks[name], axes) for name, axes in labels}
        variables = [(variable, leaves["parameter"][name]) for name, variable in places(layer)]
        adding = Zeros(lambda name, _: leaves["tap"][name], replace)
        with keras.StatelessScope(state_mapping=variables):
            output = call(layer, {**others, **leaves["input"]}, adding, observe)
        return output, {name: value for name, (value, _) in adding.seen.items()}

    @jax.jit
    def both(leaves: Any, others: Any, masks: Any, seed: Any) -> Any:
        output, backwards, taps = jax.vjp(lambda leaves: function(leaves, others, masks), leaves, has_aux=True)
        return output, taps, backwards(seed.astype(output.dtype))[0]

    return both
