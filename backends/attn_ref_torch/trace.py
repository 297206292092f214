"""Tracing a module of torch: every ATen operation with its value and the line that caused it.

A copy runs in float64, in evaluation, without gradients; fused attention is taken apart by torch's own plain form of
it, so that its steps are seen. What is compiled runs as it was before; what ``torch.jit`` made has no lines. Nothing of
the module, its buffers or the random state changes.
"""

from __future__ import annotations

import copy
import inspect
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from attn_ref.trace.copies import NOTHING, Double, within
from attn_ref.trace.flow import Numbers, telling
from attn_ref.trace.record import Trace, leaves, stirred, users_line
from attn_ref.trace.slope import STEP, Slope
from attn_ref.trace.store import LIMIT, Store

SEEDS = count()
#: where channels stand
CHANNELS_LAST = False


class Recorder(TorchDispatchMode):
    """Keeps what every operation gives. ``instead``: number of a record -> what the operation is to give there."""

    def __init__(self, limit: int, home: Collection[str], instead: Mapping[float, np.ndarray]) -> None:
        super().__init__()
        self.store, self.home, self.instead = Store(limit), home, instead
        self.taken: set[int] = set()
        #: values so far, by which records are numbered; a store with a limit of 0 counts none
        self.count = 0
        #: memory that an operation wrote to -> the records that what it holds came of
        self.written: dict[int, Numbers] = {}
        #: the modules inside that run now, by name, the outermost first
        self.inside: list[str] = [""]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        memory = [x.untyped_storage().data_ptr() for x in given]
        self.taken.update(memory)
        came = self.store.came(lambda: [array(x) for x in given])
        came = came.union(*(self.written.get(at, ()) for at in memory))
        result = func(*args, **(kwargs or {}))
        line = users_line(sys._getframe(1), self.home)
        name = str(func).removeprefix("aten.").partition(".")[0]
        values, form = tree_flatten(result)
        for i, x in enumerate(values):
            if isinstance(x, torch.Tensor) and x.is_floating_point():
                if x.numel() and self.count in self.instead:
                    x = values[i] = put(self.instead[self.count], x, func._schema.is_mutable)
                self.count += bool(x.numel())
                self.store.add(name, in_numpy(x), line, x.dtype != torch.float64, came, self.inside[-1])
            elif isinstance(x, torch.Tensor):
                self.store.carry(partial(array, x), came)
        if func._schema.is_mutable and memory:
            self.written[memory[0]] = came | self.store.last
        return tree_unflatten(values, form) if self.instead else result


def put(value: np.ndarray, x: torch.Tensor, in_place: bool) -> torch.Tensor:
    """A tensor of that value in the place of ``x``; ``x`` itself where the operation writes into it."""
    new = torch.from_numpy(np.array(value, order="C")).to(x)
    return x.copy_(new) if in_place else new


def in_numpy(x: torch.Tensor) -> np.ndarray:
    """Its numbers in float64, maybe in the same memory."""
    return x.detach().to(torch.float64).cpu().numpy()


def array(x: torch.Tensor) -> np.ndarray:
    """What it holds."""
    return in_numpy(x) if x.is_floating_point() else x.detach().resolve_conj().cpu().numpy()


def to_numpy(x: torch.Tensor) -> np.ndarray:
    """A copy."""
    return in_numpy(x).copy()


def double(layer: Any) -> Any:
    """A copy in float64, in evaluation: of a module, or of a function or object that holds tensors or modules."""
    layer = eager(layer)
    if isinstance(layer, torch.jit.ScriptModule | torch.jit.ScriptFunction) and constants(layer):
        raise ValueError("torch.jit made constants in float32 of its parameters: give the module that it was made of")
    if not isinstance(layer, torch.nn.Module):
        return Double(layer, converted)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning
        )  # torch.jit
        return moved(copy.deepcopy(layer).double().eval())


def moved(layer: Any) -> Any:
    """A copy of a module, no parameter or running statistic of one number alone."""
    trained = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, x in {**trained, **running(layer)}.items():
            if (value := stirred(name, x.numpy())) is not None:
                x.copy_(torch.from_numpy(value))
    return layer


def running(layer: Any) -> dict[str, torch.Tensor]:
    """The running statistics of a module's batch norms."""
    if not isinstance(layer, torch.nn.Module):
        return {}
    return {n: x for n, x in layer.named_buffers() if n.endswith(("running_mean", "running_var"))}


def eager(layer: Any) -> Any:
    """What was given to ``torch.compile``; anything else stays."""
    while (
        before := getattr(layer, "_orig_mod", None) or getattr(layer, "_torchdynamo_orig_callable", None)
    ) is not None:
        layer = before
    return layer


def constants(layer: Any) -> bool:
    """Are there real tensors among the constants of what ``torch.jit`` made?"""
    graph = layer.inlined_graph if hasattr(layer, "inlined_graph") else layer.graph
    values = [x.output().toIValue() for x in graph.findAllNodes("prim::Constant", True)]
    return any(isinstance(x, torch.Tensor) and x.is_floating_point() and x.numel() > 1 for x in values)


def converted(x: Any) -> Any:
    """A tensor or array of floats in float64, a module as its copy; NOTHING for anything else."""
    if isinstance(x, torch.nn.Module):
        return double(x)
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return np.array(x, np.float64)
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        return NOTHING
    new = x.detach().to(torch.float64, copy=True)
    return torch.nn.Parameter(new) if isinstance(x, torch.nn.Parameter) else new


def held(layer: Any) -> dict[str, torch.Tensor]:
    """The parameters of a copy by name; of a function, the tensors that it holds."""
    if isinstance(layer, torch.nn.Module):
        return {name.replace("_orig_mod.", ""): p for name, p in layer.named_parameters()}
    found: dict[str, torch.Tensor] = {}
    for path, x in layer.parameters.items():
        found |= {within(path, name): p for name, p in held(x).items()} if isinstance(x, torch.nn.Module) else {}
        found |= {path: x} if isinstance(x, torch.Tensor) else {}
    return found


def trace(
    layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = LIMIT,
    instead: Mapping[float, np.ndarray] | None = None,
) -> Trace:  # fmt: skip
    """Run ``layer``, which ``double`` gave, on NumPy arrays and record everything; nothing with a ``limit`` of 0.

    ``instead``: number of a record -> a value of its shape that the operation gives in the place of its own.
    """
    given = [lift(x) for x in args]
    named = {name: lift(x) for name, x in kwargs.items()}
    recorder = Recorder(limit, home(layer), instead or {})
    recorder.store.start(array(x) for x in (*given, *named.values()) if isinstance(x, torch.Tensor))
    own = held(layer)
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(next(SEEDS))  # what draws numbers draws others each time
        stack.enter_context(torch.no_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.jit.optimized_execution(False))
        if limit or instead:
            stack.enter_context(recorder)
        if telling():
            stack.enter_context(named_inside(layer, recorder.inside))
        output = layer(*given, **named)
    if not limit:
        return Trace([], output)
    unused = [name for name, p in own.items() if p.untyped_storage().data_ptr() not in recorder.taken]
    kept = {**own, **running(layer)}
    found = recorder.store.trace(output, unused, {name: to_numpy(p) for name, p in kept.items()})
    before = [lift(x) for x in args]
    if any(isinstance(a, torch.Tensor) and not torch.equal(a, b) for a, b in zip(given, before, strict=True)):
        found.notes.append("it changes its input in place")
    if any(isinstance(x, torch.jit.ScriptModule | torch.jit.ScriptFunction) for x in parts(layer)):
        found.notes.append(
            "torch.jit made it: its steps have no lines; give the module that it was made of to see them"
        )
    return found


@contextmanager
def named_inside(layer: Any, inside: list[str]) -> Iterator[None]:
    """While it lasts, the names of the modules that run are the last of ``inside``."""
    handles = []

    def left(x: Any, args: Any, result: Any) -> None:
        inside.pop()

    for name, x in layer.named_modules() if isinstance(layer, torch.nn.Module) else ():
        if not isinstance(x, torch.jit.ScriptModule):
            handles.append(x.register_forward_pre_hook(lambda x, args, name=name: inside.append(name)))
            handles.append(x.register_forward_hook(left, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def parts(layer: Any) -> list[Any]:
    """A module and those inside; the function that was copied."""
    return [*layer.modules()] if isinstance(layer, torch.nn.Module) else [layer.call]


def home(layer: Any) -> set[str]:
    """The files in which the classes of a module and of those inside stand, but for leaves such as a linear layer."""
    if not isinstance(layer, torch.nn.Module):
        return set()
    holders = [module for module in layer.modules() if any(True for _ in module.children())]
    calls = [inspect.getattr_static(type(module), "forward", None) for module in holders or [layer]]
    return {call.__code__.co_filename for call in calls if inspect.isfunction(call)}


def lift(x: Any) -> Any:
    """A tensor of an array, reals in float64, of a tuple's as well; anything else stays."""
    if isinstance(x, tuple):
        return tuple(map(lift, x))
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
    at = held(layer)
    trains = {name: p.requires_grad for name, p in at.items()}
    inputs = {f"input {i}": x for i, x in enumerate(given) if isinstance(x, torch.Tensor) and x.is_floating_point()}
    at |= inputs
    for x in inputs.values():
        x.requires_grad_()
    toward: dict[int, torch.Tensor] = {}

    def value() -> torch.Tensor:
        torch.manual_seed(0)
        found: torch.Tensor = torch.zeros((), dtype=torch.float64)
        for i, y in enumerate(reals(layer(*given, **copy.deepcopy(named)))[:1]):  # a cache fills; others are to look at
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
    return [x for x in leaves(result) if isinstance(x, torch.Tensor) and x.is_floating_point()]
