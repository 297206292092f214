"""The primitives that take parameters, as they are while a search runs: they ask for those that are not known yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from attn_ref import ops
from attn_ref.trace.asked import Unknown
from attn_ref.trace.readings import identity
from attn_ref.trace.wiring import Solver

#: the primitives that take parameters
SOLVED = ("linear", "conv", "layer_norm", "rms_norm", "batch_norm", "softmax")


@contextmanager
def solving(solver: Solver) -> Iterator[None]:
    """While it lasts, the primitives that take parameters solve for those that are not known."""
    plain = {name: getattr(ops, name) for name in SOLVED}

    def linear(x: Any, kernel: Any, bias: Any = None) -> Any:
        if isinstance(kernel, Unknown):
            kernel, bias = solver.affine(x, kernel, bias)
        return plain["linear"](x, kernel, bias)

    def conv(x: Any, kernel: Any, bias: Any = None, **options: Any) -> Any:
        if isinstance(kernel, Unknown):
            size = int(np.prod(kernel.shape[:-1]))
            every = identity(size).reshape(*kernel.shape[:-1], size)
            count = options.get("groups", 1)
            patches = [
                plain["conv"](part, every, None, **{**options, "groups": 1}) for part in np.split(x, count, axis=-1)
            ]
            if count > 1:
                kernel, bias = solver.grouped(patches, kernel, bias, x)
            else:
                kernel, bias = solver.affine(patches[0], kernel, bias, x)
        return plain["conv"](x, kernel, bias, **options)

    def layer_norm(x: Any, scale: Any = None, offset: Any = None, *, eps: float) -> Any:
        if isinstance(scale, Unknown):
            scale, offset = solver.normed(plain["layer_norm"](x, eps=eps), scale, offset)
        return plain["layer_norm"](x, scale, offset, eps=eps)

    def rms_norm(x: Any, scale: Any = None, *, eps: float) -> Any:
        if isinstance(scale, Unknown):
            scale, _ = solver.normed(plain["rms_norm"](x, eps=eps), scale, None)
        return plain["rms_norm"](x, scale, eps=eps)

    def batch_norm(x: Any, w: Any, *, eps: float, **options: Any) -> Any:
        if isinstance(w["scale"], Unknown):
            solver.batch_normed(x, w, eps)
        return plain["batch_norm"](x, w, eps=eps, **options)

    def softmax(x: Any, *, sink: Any = None, **options: Any) -> Any:
        if isinstance(sink, Unknown):
            sink = solver.sunk(x, sink)
        return plain["softmax"](x, sink=sink, **options)

    solvers = (linear, conv, layer_norm, rms_norm, batch_norm, softmax)
    with ExitStack() as stack:
        for name, function in zip(SOLVED, solvers, strict=True):
            stack.enter_context(mock.patch.object(ops, name, function))
        yield
