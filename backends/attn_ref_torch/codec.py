"""How canonical parameters sit in torch's leaf layers. Keyed on the type of the leaf, found by attribute path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from attn_ref.backend import Slot

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


def places(layer: nn.Module) -> Iterator[tuple[str, nn.Parameter, Turn, Turn]]:
    """(canonical name, parameter, its layout → canonical, canonical → its layout) for all that ``layer`` holds."""
    for path, module in layer.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        table = LEAVES.get(type(module), {})
        own = dict(module.named_parameters(recurse=False))
        for canonical, (name, outward, inward) in table.items():
            if name in own:
                yield prefix + canonical, own.pop(name), outward, inward
        if own and not hasattr(module, "block"):
            raise TypeError(f"no codec for {type(module).__name__} at {path!r}, which holds {', '.join(own)}")
        for name, parameter in own.items():  # a mirror's own parameters are laid out as the reference's
            yield prefix + name, parameter, same, same


def slots(layer: nn.Module) -> dict[str, Slot]:
    """Canonical name -> Slot."""

    def slot(place: tuple[nn.Parameter, Turn, Turn]) -> Slot:
        parameter, outward, inward = place

        def get() -> np.ndarray:
            return np.ascontiguousarray(outward(to_numpy(parameter)))

        def put(value: np.ndarray) -> None:
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(np.array(inward(value), order="C")))

        shape = outward(np.empty(tuple(parameter.shape), np.bool_)).shape
        return Slot(shape, str(parameter.dtype).removeprefix("torch."), get, put)

    return {name: slot((parameter, outward, inward)) for name, parameter, outward, inward in places(layer)}


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A copy as a NumPy array; bfloat16, which NumPy lacks, comes back as float32, which holds it exactly."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()
