"""Tracing a module of torch: every ATen operation with its value and the line that caused it.

The module runs on a copy in float64, in evaluation, without gradients; fused attention is taken apart by torch's own
plain form of it, so that its steps are seen. Nothing of the module, its buffers or the random state changes.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attn_ref.trace.record import Record, Trace, stirred, users_line
from attn_ref.trace.slope import STEP, Slope

SEEDS = count()
#: where channels stand
CHANNELS_LAST = False


class Recorder(TorchDispatchMode):
    """Keeps what every operation gives."""

    def __init__(self, limit: int, home: Collection[str]) -> None:
        super().__init__()
        self.records: list[Record] = []
        self.limit, self.home = limit, home
        self.taken: set[int] = set()
        self.narrow = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, torch.Tensor):
                self.taken.add(x.untyped_storage().data_ptr())
        result = func(*args, **(kwargs or {}))
        line = users_line(sys._getframe(1), self.home)
        name = str(func).removeprefix("aten.").partition(".")[0]
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.is_floating_point() and x.dtype != torch.float64 and x.numel() > 1:
                self.narrow = True
            if isinstance(x, torch.Tensor) and x.is_floating_point() and 0 < x.numel() <= self.limit:
                self.records.append(Record(len(self.records), name, to_numpy(x), line))
        return result


def to_numpy(x: torch.Tensor) -> np.ndarray:
    """A copy."""
    return x.detach().to(torch.float64).cpu().numpy().copy()


def double(layer: Any) -> Any:
    """A copy of a module in float64, in evaluation, no parameter of one number alone; a function stays what it is."""
    if not isinstance(layer, torch.nn.Module):
        return layer
    made = copy.deepcopy(layer).double().eval()
    trained = {name: p for name, p in made.named_parameters() if p.requires_grad}
    running = {n: x for n, x in made.named_buffers() if n.endswith(("running_mean", "running_var"))}
    with torch.no_grad():
        for name, x in {**trained, **running}.items():
            if (value := stirred(name, x.numpy())) is not None:
                x.copy_(torch.from_numpy(value))
    return made


def trace(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = 4_000_000) -> Trace:
    """Run ``layer``, which ``double`` gave, on NumPy arrays and record everything; nothing with a ``limit`` of 0."""
    given = [lift(x) for x in args]
    named = {name: lift(x) for name, x in kwargs.items()}
    recorder = Recorder(limit, home(layer))
    own = dict(layer.named_parameters()) if isinstance(layer, torch.nn.Module) else {}
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(next(SEEDS))  # what draws numbers draws others each time
        stack.enter_context(torch.no_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        if limit:
            stack.enter_context(recorder)
        output = layer(*given, **named)
    if not limit:
        return Trace([], output)
    unused = [name for name, p in own.items() if p.untyped_storage().data_ptr() not in recorder.taken]
    parameters = {name: to_numpy(p) for name, p in own.items()}
    found = Trace(recorder.records, output, unused, parameters, recorder.narrow)
    before = [lift(x) for x in args]
    if any(isinstance(a, torch.Tensor) and not torch.equal(a, b) for a, b in zip(given, before, strict=True)):
        found.notes.append("it changes its input in place")
    return found


def home(layer: Any) -> set[str]:
    """The files in which the classes of a module and of those inside stand, but for leaves such as a linear layer."""
    if not isinstance(layer, torch.nn.Module):
        return set()
    holders = [module for module in layer.modules() if any(True for _ in module.children())]
    calls = [getattr(type(module).forward, "__code__", None) for module in holders or [layer]]
    return {call.co_filename for call in calls if call is not None}


def lift(x: Any) -> Any:
    """A tensor of an array, reals in float64; anything else stays."""
    if not isinstance(x, np.ndarray):
        return x
    tensor = torch.from_numpy(np.array(x, order="C"))
    return tensor.double() if tensor.is_floating_point() else tensor


def outputs(result: Any) -> list[np.ndarray]:
    """The real tensors in what came out, the first of them first: of a tuple, a dict, a dataclass."""
    return [to_numpy(x) for x in reals(result)]


def slopes(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], seed: int) -> list[Slope]:
    """Of every parameter and real input, along a random direction: the slope by autograd and by central differences."""
    random = torch.Generator().manual_seed(seed)
    given = [lift(x) for x in args]
    named = {name: lift(x) for name, x in kwargs.items()}
    at: dict[str, torch.Tensor] = dict(layer.named_parameters()) if isinstance(layer, torch.nn.Module) else {}
    trains = {name: p.requires_grad for name, p in at.items()}
    inputs = {f"input {i}": x for i, x in enumerate(given) if isinstance(x, torch.Tensor) and x.is_floating_point()}
    at |= inputs
    for x in inputs.values():
        x.requires_grad_()
    toward: dict[int, torch.Tensor] = {}

    def value() -> torch.Tensor:
        torch.manual_seed(0)
        found: torch.Tensor = torch.zeros((), dtype=torch.float64)
        for i, y in enumerate(reals(layer(*given, **named))[:1]):  # others may be there to look at
            if i not in toward:
                toward[i] = torch.rand(y.shape, generator=random, dtype=torch.float64) - 0.5
            found = found + (y.double() * toward[i]).sum()
        return found

    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        wanted = [x for x in at.values() if x.requires_grad]
        total = value()
        found = torch.autograd.grad(total, wanted, allow_unused=True) if total.requires_grad else [None] * len(wanted)
        gradients = dict(zip(map(id, wanted), found, strict=True))
        told: list[Slope] = []
        for name, x in at.items():
            way = torch.rand(x.shape, generator=random, dtype=torch.float64) - 0.5
            with torch.no_grad():
                x.add_(way, alpha=STEP)
                up = value()
                x.sub_(way, alpha=2 * STEP)
                down = value()
                x.add_(way, alpha=STEP)
            gradient = gradients.get(id(x))
            slope = None if gradient is None else float((gradient * way).sum())
            told.append(Slope(name, slope, float(up - down) / (2 * STEP), trains.get(name, True)))
    return told


def reals(result: Any) -> list[torch.Tensor]:
    """The tensors of real numbers in a result."""
    if hasattr(result, "__dict__") and not isinstance(result, torch.Tensor | tuple | list | dict):
        result = vars(result)
    return [x for x in tree_leaves(result) if isinstance(x, torch.Tensor) and x.is_floating_point()]
