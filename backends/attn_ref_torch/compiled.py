"""The compiled ways to run a mirror: torch.compile and torch.export."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import nn

from attn_ref.backend import Request
from attn_ref.compiled import Compiled
from attn_ref_torch.program import Program, Tensors, dtype_of, scoped_calls

KEPT = Compiled()


def compiled(
    key: tuple[Any, ...], layer: nn.Module, request: Request, arguments: tuple[Tensors, Tensors, Tensors]
) -> tuple[nn.Module, Callable[..., Any], Tensors]:
    """A layer with the parameters of ``layer``, its compiled program, and the zeros at its taps.

    The layer is the program's own, so that one program serves every layer of an equal block.
    """
    own, function, zeros = KEPT.get(key, lambda: make(key[0], layer, request, arguments))
    own.load_state_dict(layer.state_dict())
    return own, function, zeros


def make(engine: str, layer: Any, request: Request, arguments: tuple[Any, ...]) -> Any:
    """What ``compiled`` keeps."""
    own = type(layer)(**layer.block.fields())
    if (dtype := dtype_of(layer)) is not None:
        own.to(dtype)
    own.train(request.training)
    for module, call in scoped_calls(own).items():  # for good: nobody else has this layer
        module.forward = call  # type: ignore[method-assign]
    program, zeros = Program(own, request), Tensors()
    if program.backward:
        program(*arguments, zeros)  # makes the zeros
    if engine == "torch-compile":
        return own, torch.compile(by_itself(program), fullgraph=True, dynamic=False), zeros
    with warnings.catch_warnings():  # the path of the taps, which is as before afterwards
        warnings.filterwarnings("ignore", "While compiling, we found certain side effects")
        return own, torch.export.export(program, (*arguments, zeros), strict=True).module(), zeros


def by_itself(program: Program) -> Callable[..., Any]:
    """``program`` with code of its own: torch.compile keeps what it compiled with the code, up to a limit for each."""

    def run(*given: Tensors) -> Any:
        return program(*given)

    code = run.__code__.replace(co_name=f"program_{id(program)}")
    return FunctionType(code, run.__globals__, closure=run.__closure__)
