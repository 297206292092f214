"""A mirror as one function of tensors: with what listens to it, and how arrays become its tensors.

While something listens, every layer tells the taps where it is.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any
from unittest import mock

import keras
import numpy as np

from attn_ref.backend import Request
from attn_ref.tap import Probe, Tapped, Zeros, exchanged, order_of, probe, scoped
from attn_ref_keras.codec import places, sublayers

Tensors = dict[str, Any]


class Program:
    """A mirror and what listens to it as one function of tensors, which is what compilers take.

    ``own``: is the layer this program's, its parameters being arguments? Otherwise it uses those that it has.
    """

    def __init__(self, layer: Any, request: Request, own: bool) -> None:
        self.layer, self.listens, self.own = layer, request.listens, own
        trains = "training" in inspect.signature(layer.call).parameters
        self.options = {"training": request.training} if trains else {}
        self.add, self.replace = ({n: t.labels for n, t in p.items()} for p in (request.add, request.replace))
        #: tap -> labels, in order of computation; known after a call
        self.labels: dict[str, str] = {}

    def __call__(
        self, parameters: Tensors, inputs: Tensors, add: Tensors, replace: Tensors, zero: Callable[..., Any] | None
    ) -> tuple[Any, Tensors]:
        """The output, and every tap; to each is added what ``zero`` gives for it, if there is one."""
        variables = [(variable, parameters[name]) for name, variable in places(self.layer)] if self.own else []
        options: dict[str, Any] = {
            "add": {name: Tapped(add[name], labels) for name, labels in self.add.items()},
            "replace": {name: Tapped(replace[name], labels) for name, labels in self.replace.items()},
            "lift": lift_tapped,
        }
        listener = Zeros(zero, **options) if zero else Probe(**options)
        with ExitStack() as stack, quietly():
            if self.own:
                stack.enter_context(keras.StatelessScope(state_mapping=variables))
            if self.listens:
                stack.enter_context(listening(self.layer))
                stack.enter_context(probe(listener))
            output = self.layer(**inputs, **self.options)
        self.labels = {name: labels for name, (_, labels) in listener.seen.items()}
        return output, {name: value for name, (value, _) in listener.seen.items()}


@contextmanager
def quietly() -> Iterator[None]:
    """Without Keras' advice about a softmax over one key, which to a check is a case like any other."""
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


def begin_names_anew() -> None:
    """Layers that are given no name are called as the first ones were: ``dense``, not ``dense_5817``.

    For every name that a variable ever had TensorFlow keeps a kernel that makes it: each new name takes memory, and
    three times as long as a known one. What Keras offers, ``clear_session``, drops all kernels. Not for a process that
    is somebody's: a model does not take two layers of one name.
    """
    with suppress(ImportError):  # it is no promise of Keras
        from keras.src.utils.naming import reset_uids

        reset_uids()


def listening(layer: Any) -> AbstractContextManager[None]:
    """While it lasts, every layer inside ``layer`` enters the scope of its attribute name when it is called."""
    return exchanged("call", dict(scoped_calls(layer)))


def scoped_calls(layer: Any) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """Every layer inside ``layer``, and its call in the scope of its attribute name."""
    for name, sub in sublayers(layer):
        yield sub, scoped(name, sub.call)
        yield from scoped_calls(sub)


def lift(value: np.ndarray, dtype: str) -> Any:
    """A NumPy array as a tensor; reals take the layer's dtype, indices int32 unless one is beyond it."""
    kind = {"f": dtype, "i": "int32"}.get(value.dtype.kind)
    if kind == "int32" and np.max(np.abs(value), initial=0) >= 2**31:
        kind = "int64"
    return keras.ops.convert_to_tensor(value, dtype=kind)


def lift_tapped(tapped: Tapped, labels: str, like: Any) -> Any:
    """A tap's tensor in the layout and dtype of ``like``."""
    value = keras.ops.cast(tapped.value, like.dtype)
    return keras.ops.transpose(value, order) if (order := order_of(tapped.labels, labels)) else value
