"""What a module promises besides its values."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from attn_ref.block import Block
from attn_ref_torch.codec import places
from attn_ref_torch.run import Program, Tensors, lift, listening, turned

#: what torch's own batch norm keeps beside its statistics
COUNTS = "num_batches_tracked"


def promises(backend: Any, block: Block, dtype: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Promise -> how it is broken, empty where it is kept."""
    from attn_ref.backend import Request

    layer = backend.load(backend.build(block, dtype), {n: x.astype(dtype) for n, x in block.init(0).items()})
    named = {id(tensor) for _, tensor, _, _ in places(layer)}
    state = layer.state_dict(keep_vars=True)
    extra = [name for name, x in state.items() if id(x) not in named and not name.endswith(COUNTS)]
    given = {name: lift(turned(x, block.inputs[name].axes), layer.built_for) for name, x in inputs.items()}
    output = layer(**given)
    other = torch.float32 if dtype == "float64" else torch.float64
    moved = copy.deepcopy(layer).to(other)
    left = [name for name, x in (*moved.named_parameters(), *moved.named_buffers()) if x.is_floating_point()
            and x.dtype != other]  # fmt: skip
    turned_given = {name: x.to(other) if x.is_floating_point() else x for name, x in given.items()}
    result = moved(**turned_given)
    return {
        "state dict": ", ".join(extra) and f"{', '.join(extra)} is no parameter of the definition",
        "a copy": "" if torch.equal(copy.deepcopy(layer)(**given), output) else "gives another result",
        "to(dtype)": (", ".join(left) and f"{', '.join(left)} does not follow")
        or ("" if result.dtype == other else f"gives {result.dtype} after .to({other})"),
        "second derivative": second(layer, given, Request(True, {}, {})),
    }


def second(layer: Any, given: Tensors, request: Any) -> str:
    """Why there is no derivative of a derivative, with taps on; empty if there is one."""
    leaves = [x.requires_grad_() for x in given.values() if x.is_floating_point()]
    leaves += [x for x in layer.parameters() if x.requires_grad]
    with listening(layer):
        output, _ = Program(layer, request)(given, {}, {}, {})
    if not leaves or not output.requires_grad:
        return "" if not leaves else "the output does not depend on any input or parameter"
    first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True, allow_unused=True)
    try:
        total = torch.stack([x.square().sum() for x in first if x is not None]).sum()
        torch.autograd.grad(total, leaves, allow_unused=True)
    except RuntimeError as error:
        return str(error)
    return ""
