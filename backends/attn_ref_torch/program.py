"""A mirror as one function of tensors: with what listens to it, and how arrays become its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from attn_ref.backend import Request
from attn_ref.block import Block
from attn_ref.inputs import channels_first, spatial
from attn_ref.tap import Probe, Tapped, Zeros, exchanged, order_of, probe, scoped

Tensors = dict[str, torch.Tensor]


class Program(nn.Module):
    """A mirror and what listens to it as one function of tensors, which is what compilers take."""

    def __init__(self, layer: nn.Module, request: Request) -> None:
        super().__init__()
        self.layer, self.listens, self.backward = layer, request.listens, request.cotangent is not None
        self.add, self.replace = ({n: t.labels for n, t in p.items()} for p in (request.add, request.replace))

    def forward(self, inputs: Tensors, add: Tensors, replace: Tensors, zeros: Tensors) -> tuple[Any, dict[str, Tapped]]:
        """The output, and every tap. To the taps ``zeros`` are added, made if absent, for gradients to be asked for."""
        if not self.listens:
            return self.layer(**inputs), {}
        options: dict[str, Any] = {
            "add": {name: Tapped(add[name], labels) for name, labels in self.add.items()},
            "replace": {name: Tapped(replace[name], labels) for name, labels in self.replace.items()},
            "lift": lift_tapped,
        }

        def zero(name: str, value: torch.Tensor) -> torch.Tensor:
            if name not in zeros:
                zeros[name] = torch.zeros_like(value, requires_grad=True)
            return zeros[name]

        listener = Zeros(zero, **options) if self.backward else Probe(**options)
        with probe(listener):
            output = self.layer(**inputs)
        return output, listener.seen


def turned(value: np.ndarray, axes: Sequence[str]) -> np.ndarray:
    """From the canonical layout into torch's: spatial axes last."""
    return value.transpose(order) if (order := first(axes)) else value


def turned_back(value: np.ndarray, axes: Sequence[str]) -> np.ndarray:
    """From torch's layout into the canonical one."""
    return value.transpose(np.argsort(order)) if (order := first(axes)) else value


def first(axes: Sequence[str]) -> list[int] | None:
    """Where torch's axes stand in the canonical layout; None where the two are the same."""
    if not any(map(spatial, axes)):
        return None
    return [list(axes).index(axis) for axis in channels_first(axes)]


@contextmanager
def mode(layer: nn.Module, training: bool) -> Iterator[None]:
    """While it lasts, ``layer`` trains, or does not."""
    before = layer.training
    layer.train(training)
    try:
        yield
    finally:
        layer.train(before)


def listening(layer: nn.Module) -> AbstractContextManager[None]:
    """While it lasts, every mirror inside ``layer`` enters the scope of its attribute path when it is called."""
    return exchanged("forward", scoped_calls(layer))


def scoped_calls(layer: nn.Module) -> dict[nn.Module, Callable[..., Any]]:
    """Every mirror inside ``layer``, and its forward in the scope of its path from the mirror around it."""
    modules = {name: module for name, module in layer.named_modules() if name}
    mirrors = [name for name, module in modules.items() if isinstance(getattr(module, "block", None), Block)]
    calls = {}
    for name in mirrors:
        owner = max((other for other in mirrors if name.startswith(other + ".")), key=len, default="")
        module = layer.get_submodule(name)
        calls[module] = scoped(name[len(owner) :].lstrip("."), module.forward)
    return calls


def dtype_of(layer: nn.Module) -> torch.dtype | None:
    """The dtype of its parameters; where it has none that for which it was built, or None: that of the inputs."""
    return next((p.dtype for p in layer.parameters()), getattr(layer, "built_for", None))


def name_of(dtype: torch.dtype) -> str:
    """'float32' for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def lift(value: np.ndarray, dtype: torch.dtype | None) -> torch.Tensor:
    """A copy of a NumPy array as a tensor, in the array's own order in memory; reals take the layer's dtype."""
    tensor = torch.from_numpy(np.array(value, order="K"))
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def lift_tapped(tapped: Tapped, labels: str, like: torch.Tensor) -> torch.Tensor:
    """A tap's tensor in the layout, dtype and device of ``like``."""
    order = order_of(tapped.labels, labels)
    value = tapped.value if order is None else tapped.value.permute(order)
    return value.to(like.dtype).to(like.device)
