"""Gradients of a program by the engine's own differentiation, and programs under its compilers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from attn_ref.backend import Request
from attn_ref.compiled import Compiled
from attn_ref_keras.program import Program, Tensors, blank

KEPT = Compiled()


def program_for(
    engine: str, layer: Any, inputs: Mapping[str, np.ndarray], request: Request
) -> tuple[Program, Callable[..., Any]]:
    """A program, and what runs it: itself, or it and its differentiation; compiled where the engine compiles."""
    backward = request.cotangent is not None
    compiler = COMPILERS.get(engine)
    if compiler is None or (engine == "jax" and not backward):
        program = Program(layer, request, own=False)
        return program, differentiated(program) if backward else plain(program)

    def make() -> tuple[Program, Callable[..., Any]]:
        own = type(layer)(**layer.block.fields(), dtype=layer.dtype_policy)
        with blank():
            own.build(None)
        program = Program(own, request, own=True)
        return program, compiler(differentiated(program) if backward else plain(program))

    key = (engine, type(layer), layer.block, layer.dtype_policy.name, request.signature(inputs))
    found: tuple[Program, Callable[..., Any]] = KEPT.get(key, make)
    return found


def graph(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """As one TensorFlow graph."""
    import tensorflow as tf

    compiled = tf.function(function, autograph=False, **options)
    # asked for by itself: a call would warn of every block and shape after the fifth as if one were traced again
    return lambda *given: compiled.get_concrete_function(*given)(*given)


def xla(function: Callable[..., Any]) -> Callable[..., Any]:
    """As one TensorFlow graph, compiled by XLA."""
    return graph(function, jit_compile=True)


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """As one JAX computation: step by step each operation of it would be compiled by itself."""
    import jax

    compiled: Callable[..., Any] = jax.jit(function)
    return compiled


#: the engines that compile; ``jax`` does for gradients only
COMPILERS = {"tensorflow-graph": graph, "tensorflow-xla": xla, "jax": jit}


def plain(program: Program) -> Callable[..., Any]:
    """``program`` forwards: output and taps."""

    def forward(parameters: Tensors, inputs: Tensors, add: Tensors, replace: Tensors) -> tuple[Any, Tensors]:
        return program(parameters, inputs, add, replace, None)

    return forward


def differentiated(program: Program) -> Callable[..., Any]:
    """``program`` forwards and backwards: output, taps, and the gradients to parameters, reals and zeros at taps."""
    backwards = {"tensorflow": by_tape, "jax": by_vjp}[keras.backend.backend()]

    def both(
        parameters: Tensors, reals: Tensors, others: Tensors, add: Tensors, replace: Tensors, seed: Any
    ) -> tuple[Any, Tensors, dict[str, Tensors]]:
        def forward(leaves: dict[str, Tensors], zero: Any) -> tuple[Any, Tensors]:
            return program(leaves["parameter"], {**others, **leaves["input"]}, add, replace, zero)

        return backwards(forward, {"parameter": parameters, "input": reals}, seed)

    return both


def by_tape(forward: Callable[..., Any], leaves: dict[str, Tensors], seed: Any) -> tuple[Any, Tensors, Any]:
    """On TensorFlow."""
    import tensorflow as tf

    leaves = {**leaves, "tap": {}}
    with tf.GradientTape() as tape:
        tape.watch(leaves)

        def zero(name: str, value: Any) -> Any:
            leaves["tap"][name] = tf.zeros_like(value)
            tape.watch(leaves["tap"][name])
            return leaves["tap"][name]

        output, taps = forward(leaves, zero)
    found = tape.gradient(
        output, leaves, tf.cast(seed, output.dtype), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return output, taps, tf.nest.map_structure(tf.convert_to_tensor, found)


def by_vjp(forward: Callable[..., Any], leaves: dict[str, Tensors], seed: Any) -> tuple[Any, Tensors, Any]:
    """On JAX: traced once to learn the taps' shapes."""
    import jax
    import jax.numpy as jnp

    shapes = jax.eval_shape(lambda leaves: forward(leaves, None)[1], leaves)
    leaves = {**leaves, "tap": {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}}
    output, backwards, taps = jax.vjp(
        lambda leaves: forward(leaves, lambda name, _: leaves["tap"][name]), leaves, has_aux=True
    )
    return output, taps, backwards(seed.astype(output.dtype))[0]
