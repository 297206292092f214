"""What the files of torch layers share: layers are made, filled and run, and their weights are told as a block's.

Nothing here is part of a layer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .corpus import Arrays, Wild


def make(cls: Callable[[str], nn.Module], fault: str, seed: int) -> nn.Module:
    """The layer in float64 and evaluation, filled by ``seed`` and its parameters' names."""
    torch.manual_seed(seed)
    layer = cls(fault).double().eval()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(filled(name, parameter, seed))
        for name, buffer in layer.named_buffers():
            if "running" in name:
                buffer.copy_(filled(name, buffer, seed))
    return layer


def filled(name: str, like: Tensor, seed: int) -> Tensor:
    """Numbers off 0 and 1; around 1 where all of ``like`` is 1."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    if like.dim() > 1:
        return torch.from_numpy(rng.standard_normal(tuple(like.shape)) * 1.2 / np.sqrt(like[0].numel()))
    if like.numel() == 1:
        return torch.from_numpy(rng.uniform(0.5, 0.9, tuple(like.shape)))
    centre = 1.0 if bool((like == 1).all()) else 0.0
    return torch.from_numpy(rng.uniform(centre - 0.4, centre + 0.4, tuple(like.shape)))


def run(layer: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> np.ndarray:
    """Its result, the first one of a tuple, for NumPy arrays and whatever else it takes."""
    with torch.no_grad():
        y = layer(*map(tensor, args), **{name: tensor(value) for name, value in kwargs.items()})
    return array(y[0] if isinstance(y, tuple) else y)


def tensor(value: Any) -> Any:
    """An array as a tensor, also in a tuple; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(tensor, value))
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def array(value: Tensor) -> np.ndarray:
    """A tensor as an array of its own."""
    return np.array(value.detach().numpy())


#: a layer of torch
TorchWild = partial(Wild, make=make, run=run)


# weights --------------------------------------------------------------------------------------------------------------


def linear(name: str, module: Any) -> dict[str, np.ndarray]:
    """Of ``nn.Linear``, or of a convolution of size 1 that stands for one."""
    weight = array(module.weight).reshape(*module.weight.shape[:2])
    return {f"{name}.kernel": weight.T} | bias_of(name, module)


def bias_of(name: str, module: Any) -> dict[str, np.ndarray]:
    return {} if module.bias is None else {f"{name}.bias": array(module.bias)}


def conv(name: str, module: Any) -> dict[str, np.ndarray]:
    """(out, in, size…) → (size…, in, out)."""
    return {f"{name}.kernel": np.moveaxis(array(module.weight), (0, 1), (-1, -2))} | bias_of(name, module)


def norm(name: str, module: Any) -> dict[str, np.ndarray]:
    """Of a layer norm, or without offset of a root mean square norm."""
    offset = getattr(module, "bias", None)
    scale = {f"{name}.scale": array(module.weight)}
    return scale if offset is None else scale | {f"{name}.offset": array(offset)}


def batch_norm(name: str, module: Any) -> dict[str, np.ndarray]:
    statistics = {"mean": module.running_mean, "variance": module.running_var}
    return norm(name, module) | {f"{name}.{leaf}": array(value) for leaf, value in statistics.items()}


def packed(names: Sequence[str], weight: Tensor, bias: Tensor | None) -> dict[str, np.ndarray]:
    """Several linear layers in one, (n·out, in), one after the other and as wide."""
    found = {f"{name}.kernel": array(part).T for name, part in zip(names, weight.chunk(len(names)), strict=True)}
    if bias is not None:
        found |= {f"{name}.bias": array(part) for name, part in zip(names, bias.chunk(len(names)), strict=True)}
    return found


def linears(layer: Any, **names: str) -> dict[str, np.ndarray]:
    """``linears(layer, query="q_proj", …)``."""
    return {k: v for name, attribute in names.items() for k, v in linear(name, getattr(layer, attribute)).items()}


# how the block's inputs are handed on ---------------------------------------------------------------------------------


def only_query(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    """layer(x)."""
    return [inputs["query"]], {}


def only_x(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    """layer(x)."""
    return [inputs["x"]], {}


def first(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    """layer(x), channels first."""
    return [np.moveaxis(inputs["x"], -1, 1)], {}


def channels_first(y: np.ndarray, inputs: Arrays) -> np.ndarray:
    return np.moveaxis(y, -1, 1)


#: weights of the right layer -> others
Alias = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def exchanged(*pairs: tuple[str, str]) -> Alias:
    """The parameters of two parts exchanged."""

    def alias(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for a, b in pairs:
            other = {a: b, b: a}
            w = {".".join(other.get(name, name) for name in split(k, a, b)): v for k, v in w.items()}
        return w

    return alias


def split(name: str, *prefixes: str) -> list[str]:
    """The prefix that ``name`` has, and the rest."""
    found = next((prefix for prefix in prefixes if name.startswith(prefix + ".")), None)
    return [name] if found is None else [found, name.removeprefix(found + ".")]


def same_as(**parts: str) -> Alias:
    """``same_as(value="key")``: the value's parameters are the key's."""

    def alias(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {k: w[".".join(parts.get(name, name) for name in split(k, *parts))] for k in w}

    return alias


def constant(**values: float) -> Alias:
    """Parameters that are one number: ``constant(**{"query.bias": 0})``."""
    return lambda w: {k: np.full_like(v, values[k]) if k in values else v for k, v in w.items()}


def permuted(order: np.ndarray, *names: str) -> Alias:
    """What these linear layers give, in another order."""
    own = [f"{name}.{leaf}" for name in names for leaf in ("kernel", "bias")]
    return lambda w: {k: v[..., order] if k in own else v for k, v in w.items()}


class Conv1D(nn.Module):
    """A linear layer whose weight is (in, out)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(nx, nf)), nn.Parameter(torch.rand(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)
