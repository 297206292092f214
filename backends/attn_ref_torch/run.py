"""Running a mirror: eager here; ``compiled`` hands the same program to compilers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from attn_ref.backend import Request, Run
from attn_ref.inputs import split_labels
from attn_ref.tap import Tapped
from attn_ref_torch.codec import places, to_numpy
from attn_ref_torch.compiled import compiled
from attn_ref_torch.program import Program, Tensors, dtype_of, lift, listening, mode, name_of, turned, turned_back


def execute(engine: str, layer: Any, inputs: Mapping[str, np.ndarray], request: Request) -> Run:
    """See ``attn_ref.backend.Backend``."""
    dtype, block = dtype_of(layer), layer.block
    backward = request.cotangent is not None
    given = {name: lift(turned(value, block.inputs[name].axes), dtype) for name, value in inputs.items()}
    if engine != "torch":  # what is compiled is compiled for one order in memory
        given = {name: x.clone(memory_format=torch.contiguous_format) for name, x in given.items()}
    add, replace = ({n: lift(t.value, None) for n, t in p.items()} for p in (request.add, request.replace))
    leaves = {name: x.requires_grad_() for name, x in given.items() if x.is_floating_point()} if backward else {}
    with torch.set_grad_enabled(backward), ExitStack() as stack:
        function: Callable[..., Any]
        if engine == "torch":
            stack.enter_context(mode(layer, request.training))
            stack.enter_context(listening(layer))
            function, zeros = Program(layer, request), Tensors()
        else:
            key = (engine, type(layer), layer.block, dtype, request.signature(inputs))
            layer, function, zeros = compiled(key, layer, request, (given, add, replace))
        output, seen = function(given, add, replace, zeros)
    before = {name: lift(turned(value, block.inputs[name].axes), dtype) for name, value in inputs.items()}
    if changed := [name for name, x in given.items() if not torch.equal(x, before[name])]:
        raise ValueError(f"the layer changed its input {', '.join(changed)} in place")
    taps = {name: Tapped(to_numpy(value), labels) for name, (value, labels) in seen.items()}
    axes = split_labels(block.output_axes)
    y = turned_back(to_numpy(output), axes)
    if request.cotangent is None:
        return Run(y, taps, dtype=name_of(output.dtype))
    turns = {name: (p, outward) for name, p, outward, _ in places(layer) if isinstance(p, nn.Parameter)}
    asked = [*leaves.values(), *zeros.values(), *(parameter for parameter, _ in turns.values())]
    seed = lift(turned(request.cotangent, axes), output.dtype)
    found = iter(torch.autograd.grad(output, asked, seed, materialize_grads=True) if asked else ())
    result = {f"input {name}": turned_back(to_numpy(next(found)), block.inputs[name].axes) for name in leaves}
    result |= {f"tap {name}": to_numpy(next(found)) for name in zeros}
    result |= {f"parameter {name}": outward(to_numpy(next(found))) for name, (_, outward) in turns.items()}
    return Run(y, taps, result, name_of(output.dtype))
