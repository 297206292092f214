"""Running a mirror under a probe. Hooks tell the taps where they are; they exist only while something listens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from attn_ref.backend import Run
from attn_ref.tap import Probe, Tapped, probe, scope, transpose_to
from attn_ref_torch.codec import places, to_numpy


def run(
    layer: nn.Module,
    inputs: Mapping[str, np.ndarray],
    *,
    observe: bool,
    add: Mapping[str, Tapped] | None,
    replace: Mapping[str, Tapped] | None,
) -> Run:
    """See ``attn_ref.backend.Backend.run``."""
    given = {name: lift(value, dtype_of(layer)) for name, value in inputs.items()}
    listener = Probe(add=add, replace=replace, lift=lift_tapped)
    with torch.no_grad(), ExitStack() as stack:
        if observe or add or replace:
            stack.enter_context(scoped(layer))
            stack.enter_context(probe(listener))
        output = layer(**given)
    if unused := listener.unused():
        raise ValueError(f"no such tap: {', '.join(unused)}; the taps are {', '.join(listener.seen) or 'none'}")
    if changed := [name for name, x in given.items() if not torch.equal(x, lift(inputs[name], dtype_of(layer)))]:
        raise ValueError(f"the layer changed its input {', '.join(changed)} in place")
    taps = {name: Tapped(to_numpy(value), labels) for name, (value, labels) in listener.seen.items()}
    return Run(to_numpy(output), taps, dtype=name_of(output.dtype))


class Leaves(Probe):
    """Adds a zero at every tap, to which the gradient is asked for."""

    def __init__(self, replace: Mapping[str, Tapped] | None) -> None:
        super().__init__(replace=replace, lift=lift_tapped)
        self.zeros: dict[str, torch.Tensor] = {}

    def __call__(self, name: str, value: Any, labels: str) -> Any:
        zero = torch.zeros_like(value, requires_grad=True)
        value = super().__call__(name, value, labels) + zero
        self.zeros[next(reversed(self.seen))] = zero
        return value


def gradients(
    layer: nn.Module,
    inputs: Mapping[str, np.ndarray],
    cotangent: np.ndarray,
    *,
    observe: bool,
    replace: Mapping[str, Tapped] | None,
) -> Run:
    """See ``attn_ref.backend.Backend.gradients``."""
    given = {name: lift(value, dtype_of(layer)) for name, value in inputs.items()}
    leaves = {name: x.requires_grad_() for name, x in given.items() if x.is_floating_point()}
    listener = Leaves(replace)
    with torch.enable_grad(), ExitStack() as stack:
        if observe:
            stack.enter_context(scoped(layer))
            stack.enter_context(probe(listener))
        output = layer(**given)
    turns = {name: (parameter, outward) for name, parameter, outward, _ in places(layer)}
    asked = [*leaves.values(), *listener.zeros.values(), *(parameter for parameter, _ in turns.values())]
    found = iter(torch.autograd.grad(output, asked, lift(cotangent, output.dtype), materialize_grads=True))
    result = {f"input {name}": to_numpy(next(found)) for name in leaves}
    result |= {f"tap {name}": to_numpy(next(found)) for name in listener.zeros}
    result |= {f"parameter {name}": outward(to_numpy(next(found))) for name, (_, outward) in turns.items()}
    taps = {name: Tapped(to_numpy(value), labels) for name, (value, labels) in listener.seen.items()}
    return Run(to_numpy(output), taps, result, name_of(output.dtype))


@contextmanager
def scoped(layer: nn.Module) -> Iterator[None]:
    """While it lasts, every mirror inside ``layer`` enters the scope of its attribute path when it is called."""
    handles = []
    mirrors = [name for name, module in layer.named_modules() if hasattr(module, "block")]
    for name in mirrors:
        if not name:
            continue
        owner = max((other for other in mirrors if not other or name.startswith(other + ".")), key=_below(name))
        handles += _enter(layer.get_submodule(name), name[len(owner) :].lstrip("."))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _below(name: str) -> Any:
    return lambda other: -1 if other == name else len(other)


def _enter(module: nn.Module, segment: str) -> list[Any]:
    entered: list[Any] = []

    def before(*_: Any) -> None:
        entered.append(scope(segment))
        entered[-1].__enter__()

    def after(*_: Any) -> None:
        if entered:
            entered.pop().__exit__(None, None, None)

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after, always_call=True)]


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
    """A tap's array in the layout, dtype and device of ``like``."""
    value = np.array(transpose_to(tapped.value, tapped.labels, labels), order="C")
    return torch.from_numpy(value).to(like.dtype).to(like.device)
