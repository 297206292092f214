"""Running a mirror under a probe. While something listens, every layer tells the taps where it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import keras
import numpy as np

from attn_ref.backend import Run
from attn_ref.tap import Probe, Tapped, order_of, probe, scope
from attn_ref_keras.codec import sublayers, to_numpy


def run(
    layer: Any,
    inputs: Mapping[str, np.ndarray],
    *,
    observe: bool,
    add: Mapping[str, Tapped] | None,
    replace: Mapping[str, Tapped] | None,
) -> Run:
    """See ``attn_ref.backend.Backend.run``."""
    given = {name: lift(value, layer.compute_dtype) for name, value in inputs.items()}
    listener = Probe(add=add, replace=replace, lift=lift_tapped)
    with ExitStack() as stack, quietly():
        if observe or add or replace:
            stack.enter_context(scoped(layer))
            stack.enter_context(probe(listener))
        output = layer(**given)
    if unused := listener.unused():
        raise ValueError(f"no such tap: {', '.join(unused)}; the taps are {', '.join(listener.seen) or 'none'}")
    taps = {name: Tapped(to_numpy(value), labels) for name, (value, labels) in listener.seen.items()}
    return Run(to_numpy(output), taps, dtype=keras.backend.standardize_dtype(output.dtype))


@contextmanager
def quietly() -> Iterator[None]:
    """Without the advice that Keras gives about a softmax over one key: that is a case like any other."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are using a softmax over axis")
        yield


@contextmanager
def blank() -> Iterator[None]:
    """Variables start as zeros inside: they are about to be loaded, and JAX compiles an initializer for every shape."""

    def zeros(self: Any, shape: Any, dtype: Any = None, **_: Any) -> Any:
        return keras.ops.convert_to_tensor(np.zeros(shape), dtype=dtype)

    with mock.patch.multiple(keras.initializers.GlorotUniform, __call__=zeros), ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(keras.initializers.RandomUniform, __call__=zeros))
        yield


@contextmanager
def scoped(layer: Any) -> Iterator[None]:
    """While it lasts, every layer inside ``layer`` enters the scope of its attribute name when it is called."""
    changed: list[Any] = []

    def enter(parent: Any) -> None:
        for name, sub in sublayers(parent):
            vars(sub)["call"] = _scoped_call(name, sub.call)
            changed.append(sub)
            enter(sub)

    enter(layer)
    try:
        yield
    finally:
        for sub in changed:
            del vars(sub)["call"]


def _scoped_call(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*args: Any, **kwargs: Any) -> Any:
        with scope(name):
            return call(*args, **kwargs)

    return inside


def lift(value: np.ndarray, dtype: str) -> Any:
    """A NumPy array as a tensor; reals take the layer's dtype."""
    kind = {"f": dtype, "i": "int32", "u": "int32"}.get(value.dtype.kind)
    return keras.ops.convert_to_tensor(value, dtype=kind)


def lift_tapped(tapped: Tapped, labels: str, like: Any) -> Any:
    """A tap's array in the layout and dtype of ``like``."""
    value = keras.ops.convert_to_tensor(tapped.value, dtype=like.dtype)
    return keras.ops.transpose(value, order) if (order := order_of(tapped.labels, labels)) else value
