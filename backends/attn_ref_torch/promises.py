"""What a module promises besides its values."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from attn_ref.block import Block
from attn_ref.doors import taken
from attn_ref_torch.codec import places
from attn_ref_torch.program import Program, Tensors, lift, listening, turned

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
    return {
        "state dict": ", ".join(extra) and f"{', '.join(extra)} is no parameter of the definition",
        "a copy": "" if torch.equal(pickle.loads(pickle.dumps(layer))(**given), output) else "gives another result",
        "to(dtype)": moved(backend.build(block, "float32"), layer, given, output),
        "second derivative": second(layer, given, Request(True, {}, {})),
        "the door": taken(layer, given, block, inputs),
    }


def moved(other: Any, layer: Any, given: Tensors, output: torch.Tensor) -> str:
    """How a layer that ran in float32 and was moved then is unlike one that was made so; empty if it is not."""
    other(**{name: x.float() if x.is_floating_point() else x for name, x in given.items()})
    other.to(output.dtype).load_state_dict(layer.state_dict())
    tensors = (*other.named_parameters(), *other.named_buffers())
    left = [name for name, x in tensors if x.is_floating_point() and x.dtype != output.dtype]
    if left:
        return f"{', '.join(left)} does not follow"
    result = other(**given)
    if result.dtype != output.dtype:
        return f"gives {result.dtype} after .to({output.dtype})"
    return "" if torch.equal(result, output) else "gives another result than a layer that was made in that dtype"


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
        total.backward()  # everywhere: what is asked for alone passes by a node that refuses
    except RuntimeError as error:
        return str(error)
    return ""
