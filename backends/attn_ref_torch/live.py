"""Live modules of torch: the numbers that they hold, a copy that runs in float64, and numbers put into either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from attn_ref_torch.trace import double, eager, in_numpy, running

#: endings of files that it writes
ENDINGS = (".safetensors",)


def is_model(x: Any) -> bool:
    """Is it a module?"""
    return isinstance(eager(x), torch.nn.Module)


def ready(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """A module has its parameters from the start. ValueError for one that has not."""
    lazy = [name for name, p in eager(model).named_parameters() if isinstance(p, torch.nn.UninitializedParameter)]
    if lazy:
        raise ValueError(f"{', '.join(lazy)} have no shape yet: call the model once")


def tensors(model: Any) -> dict[str, torch.Tensor]:
    """Parameters and running statistics by name, each once."""
    model = eager(model)
    found = {**dict(model.named_parameters()), **running(model)}
    return {name.replace("_orig_mod.", ""): x for name, x in found.items() if x.is_floating_point()}


def arrays(model: Any) -> dict[str, np.ndarray]:
    """Their numbers in float64."""
    return {name: in_numpy(x).copy() for name, x in tensors(model).items()}


def twin(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Callable[[], None]]:
    """A copy that runs in float64, and what undoes it."""
    return double(model), lambda: None


def put(copy: Any, model: Any, numbers: Mapping[str, np.ndarray]) -> None:
    """Numbers into a copy."""
    own = tensors(copy)
    with torch.no_grad():
        for name, x in numbers.items():
            own[name].copy_(torch.from_numpy(np.array(x, np.float64)))


def write(model: Any, numbers: Mapping[str, np.ndarray]) -> list[str]:
    """Numbers into the module itself, all or none; the names of those that its dtype rounds."""
    own = tensors(model)
    before = {name: own[name].detach().clone() for name in numbers}
    rounded = []
    try:
        with torch.no_grad():
            for name, x in numbers.items():
                own[name].copy_(torch.from_numpy(np.array(x, np.float64)).to(own[name].dtype))
                if not np.array_equal(in_numpy(own[name]), x, equal_nan=True):
                    rounded.append(name)
    except BaseException:
        with torch.no_grad():
            for name, old in before.items():
                own[name].copy_(old)
        raise
    return rounded


def state(model: Any) -> dict[str, tuple[int, ...]]:
    """The names and shapes of what a file of the module holds."""
    return {name: tuple(x.shape) for name, x in eager(model).state_dict().items()}


def passed_over(model: Any) -> list[str]:
    """Names that a file may lack: counts and ids, and other names of a parameter."""
    own = eager(model).state_dict(keep_vars=True)
    first: dict[int, str] = {}
    for name, x in own.items():
        first.setdefault(id(x), name)
    return [name for name, x in own.items() if not x.is_floating_point() or first[id(x)] != name]


def fill(model: Any, held: Mapping[str, np.ndarray]) -> str:
    """Put the tensors of a file into the module; names of one parameter that differ in the file, if there are such."""
    own = eager(model).state_dict(keep_vars=True)
    placed: dict[int, str] = {}
    with torch.no_grad():
        for name in held:
            x = np.asarray(held[name])
            x = x if x.dtype.kind in "iub" else x.astype(np.float64)
            if (other := placed.setdefault(id(own[name]), name)) != name:
                if not np.array_equal(np.asarray(held[other]).astype(x.dtype), x, equal_nan=True):
                    return f"{other} and {name}"
                continue
            own[name].copy_(torch.from_numpy(np.array(x)))
    return ""


@contextmanager
def kept() -> Iterator[None]:
    """While it lasts the random state may change; then it is as before."""
    with torch.random.fork_rng(devices=[]):
        yield


def named(copy: Any, model: Any) -> dict[str, str]:
    """Names of layers in a copy -> in the module; where there is none they are the same."""
    return {}


def settings(model: Any, path: str) -> dict[str, Any]:
    """What the layer of that name was told when it was made."""
    try:
        found = vars(eager(model).get_submodule(path))
    except AttributeError:
        return {}
    return {name: x for name, x in found.items() if name[0] != "_" and isinstance(x, int | float | str | tuple)}


def tell(copy: Any, model: Any, path: str, name: str, value: Any) -> None:
    """Tell a layer of a copy something else."""
    setattr(copy.get_submodule(path), name, value)


def save(model: Any, path: str) -> None:
    """Write what the module holds as safetensors."""
    from safetensors.torch import save_model

    save_model(eager(model), path)
