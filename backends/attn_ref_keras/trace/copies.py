"""Copies of layers of Keras that run in float64, with the same weights; nothing of the layer changes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from unittest.mock import patch

import keras
import numpy as np

from attn_ref.trace.copies import NOTHING, Double
from attn_ref.trace.record import stirred


def on(backend: str) -> bool:
    """Does Keras compute with it?"""
    return bool(keras.backend.backend() == backend)


@contextmanager
def wide() -> Iterator[None]:
    """While it lasts, float64 is what it says: JAX has to be told, and Keras, which takes float32 for it there."""
    if not on("jax"):
        yield
        return
    narrowed = getattr(import_module("keras.src.backend.common.dtypes"), "BIT64_TO_BIT32_DTYPE", {})
    with import_module("jax").enable_x64(True), patch.dict(narrowed, {"float64": "float64"}):
        yield


def double(layer: Any) -> Any:
    """A copy in float64, with the same weights; the layer itself where no copy can be made of its configuration."""
    if not isinstance(layer, keras.layers.Layer):
        return import_module("attn_ref_jax.trace").double(layer) if on("jax") else Double(layer, converted)
    try:
        return Copy(layer)
    except Exception:  # whatever a stranger's configuration lacks
        return layer


def converted(x: Any) -> Any:
    """An array or tensor of floats in float64; NOTHING for anything else."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return np.array(x, np.float64)
    tensor = keras.ops.is_tensor(x) and floats(x)
    return keras.ops.cast(x, "float64") if tensor else NOTHING


def by_name(variables: Sequence[Any]) -> dict[str, Any]:
    """Variables by path; where several have one, with a number."""
    found: dict[str, Any] = {}
    for v in variables:
        alike = sum(name.partition(" ")[0] == v.path for name in found)
        found[f"{v.path} {alike + 1}" if alike else v.path] = v
    return found


def widened(told: Any) -> Any:
    """A configuration with float64 for every float32, in the layers inside as well."""
    if isinstance(told, dict):
        return {key: widened(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return type(told)(widened(value) for value in told)
    return "float64" if isinstance(told, str) and told == "float32" else told


class Copy:
    """A layer in float64, made at its first call, with the weights of another if that has any yet."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.loaded = layer, False
        self.call = getattr(layer, "call", None)
        self.made = self.make()

    def make(self) -> Any:
        """A new one."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float64")
        try:
            with wide():
                return self.anew()
        finally:
            keras.config.set_dtype_policy(before)

    def anew(self) -> Any:
        """One of its configuration; where its class does not take that, of the arguments that Keras remembers."""
        kind = type(self.layer)
        if forgets(self.layer):
            raise TypeError(f"Keras does not keep the arguments of {kind.__name__}")
        classes = {type(x).__name__: type(x) for x in self.layer._flatten_layers()}
        try:
            with keras.saving.custom_object_scope(classes), warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"`build\(\)` was called", UserWarning)
                return kind.from_config(widened(self.layer.get_config()))
        except TypeError:
            remembered = getattr(getattr(self.layer, "_auto_config", None), "config", None)
            if remembered is None or kind.__module__.startswith("keras."):
                raise
            return kind(**widened(remembered))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with wide():
            return self.made(*args, **kwargs) if self.loaded else self.first(*args, **kwargs)

    def first(self, *args: Any, **kwargs: Any) -> Any:
        """The first call, which makes weights."""
        try:
            self.made(*args, **kwargs)
            ours, theirs = self.made.weights, self.layer.weights
            if theirs and [tuple(w.shape) for w in ours] != [tuple(w.shape) for w in theirs]:
                raise ValueError("a copy of the layer in float64 has other weights")
        except Exception:
            self.made = self.make()  # this one may have been built for what it does not take
            raise
        for mine, its in zip(ours, theirs, strict=True) if theirs else ():
            mine.assign(keras.ops.cast(its.value, mine.dtype))
        for mine in ours:
            value = np.array(keras.ops.convert_to_numpy(mine.value))
            if "float" in str(mine.dtype) and (moved := stirred(mine.path, value)) is not None:
                mine.assign(moved)
        self.loaded = True
        return self.made(*args, **kwargs)


def forgets(layer: Any) -> bool:
    """Is it a model whose configuration has the defaults of its class in the place of what it was given?

    Keras remembers arguments when an object is made, but of a subclass of Model it is not told any.
    """
    kind = type(layer)
    if not isinstance(layer, keras.Model) or kind.__module__.startswith("keras."):
        return False
    inherited = kind.get_config in (keras.Model.get_config, keras.layers.Layer.get_config)
    asked = inspect.signature(kind.__init__).parameters.values()
    return inherited and any(p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in asked)


def floats(x: Any) -> bool:
    """Is it a tensor of real numbers?"""
    return hasattr(x, "dtype") and "float" in str(x.dtype)
