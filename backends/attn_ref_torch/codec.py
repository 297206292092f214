"""How canonical parameters sit in torch's leaf layers. Keyed on the type of the leaf, found by attribute path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from attn_ref.backend import Slot
from attn_ref.block import Block

Turn = Callable[[np.ndarray], np.ndarray]


def same(x: np.ndarray) -> np.ndarray:
    return x


def transposed(x: np.ndarray) -> np.ndarray:
    return x.T


#: leaf type -> canonical name -> (torch's name, torch's layout → canonical, canonical → torch's layout)
LEAVES: dict[type[nn.Module], dict[str, tuple[str, Turn, Turn]]] = {
    nn.Linear: {"kernel": ("weight", transposed, transposed), "bias": ("bias", same, same)},
    nn.LayerNorm: {"scale": ("weight", same, same), "offset": ("bias", same, same)},
    nn.RMSNorm: {"scale": ("weight", same, same)},
    nn.Embedding: {"embedding": ("weight", same, same)},
}


def kernel(x: np.ndarray) -> np.ndarray:
    """(out, in / groups, spatial…) → (spatial…, in / groups, out)."""
    return x.transpose(*range(2, x.ndim), 1, 0)


def kernel_back(x: np.ndarray) -> np.ndarray:
    """(spatial…, in / groups, out) → (out, in / groups, spatial…)."""
    return x.transpose(x.ndim - 1, x.ndim - 2, *range(x.ndim - 2))


BATCH_NORM: dict[str, tuple[str, Turn, Turn]] = {
    "scale": ("weight", same, same),
    "offset": ("bias", same, same),
    "mean": ("running_mean", same, same),
    "variance": ("running_var", same, same),
}


def leaves_of(module: nn.Module) -> dict[str, tuple[str, Turn, Turn]]:
    """The table of the module's type, a batch norm's or a convolution's of any rank."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return BATCH_NORM
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return {"kernel": ("weight", kernel, kernel_back), "bias": ("bias", same, same)}
    return next((LEAVES[kind] for kind in type(module).__mro__ if kind in LEAVES), {})


def places(layer: nn.Module) -> Iterator[tuple[str, torch.Tensor, Turn, Turn]]:
    """(canonical name, tensor, its layout → canonical, canonical → its layout) for all that ``layer`` holds.

    Tensors are parameters, and the statistics of batch norms. A layer of another library says its own.
    """
    if hasattr(layer, "peer"):
        foreign: Any = layer
        yield from foreign.places()
        return
    for path, module in layer.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        table = leaves_of(module)
        own = dict(module.named_parameters(recurse=False))
        if table is BATCH_NORM:
            own |= {name: x for name, x in module.named_buffers(recurse=False) if x.is_floating_point()}
        for canonical, (name, outward, inward) in table.items():
            if name in own:
                yield prefix + canonical, own.pop(name), outward, inward
        if own and not isinstance(getattr(module, "block", None), Block):
            raise TypeError(f"no codec for {type(module).__name__} at {path!r}, which holds {', '.join(own)}")
        for name, parameter in own.items():  # a mirror's own parameters are laid out as the reference's
            yield prefix + name, parameter, same, same


def slots(layer: nn.Module) -> dict[str, Slot]:
    """Canonical name -> Slot."""

    def slot(place: tuple[torch.Tensor, Turn, Turn]) -> Slot:
        parameter, outward, inward = place

        def get() -> np.ndarray:
            return np.ascontiguousarray(outward(to_numpy(parameter)))

        def put(value: np.ndarray) -> None:
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(np.array(inward(value), order="C")))

        shape = outward(np.empty(tuple(parameter.shape), np.bool_)).shape
        trains = isinstance(parameter, nn.Parameter) and parameter.requires_grad
        return Slot(shape, str(parameter.dtype).removeprefix("torch."), get, put, trains)

    return {name: slot((parameter, outward, inward)) for name, parameter, outward, inward in places(layer)}


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A copy as a NumPy array; bfloat16, which NumPy lacks, comes back as float32, which holds it exactly."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()
