"""``nn.MultiheadAttention`` as a peer of ``MultiHeadAttention``: built from the block, with the block's weights.

What it does differently:

- A bool mask is True = drop; a float one is added. ``key_padding_mask`` is (b, s), ``attn_mask`` (t, s) or (b·h, t, s).
- The three projections are one (3·width, width) matrix, until ``kdim`` or ``vdim`` differ from the width; one ``bias``
  flag is for all four projections, and every width but those two follows from ``embed_dim`` and ``num_heads``.
- ``is_causal`` is a hint that the mask is the causal one (top left), not an option: the mask must be given as well.
- A row with nothing to attend to is NaN where the weights are computed (``need_weights=True``, the default) and on the
  native path (self-attention, an even number of heads, ``eval``, no gradients: there whatever ``need_weights`` says).
  Elsewhere ``need_weights=False`` gives zeros before the projection, as the definition does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.expresses import Rules, refuse, refuse_inputs
from attn_ref_torch.program import lift

NAME = "nn.MultiheadAttention"
#: fields of which it takes any value, and inputs that it knows
ANYTHING = ("width", "num_heads", "key_width", "value_width", "use_bias", "dropout", "causal")
INPUTS = ("query", "key", "value", "attention_mask", "bias")


@dataclass(frozen=True)
class Peer:
    """The third-party layer, and the block that it was built from."""

    layer: nn.MultiheadAttention
    block: MultiHeadAttention


def build(block: MultiHeadAttention, weights: Mapping[str, np.ndarray], dtype: str = "float64") -> Peer:
    """The layer with ``block``'s options and canonical ``weights``. ValueError: the fields that it cannot express."""
    refuse(NAME, block, ANYTHING, rules(block))
    block.check_weights(weights)
    layer = nn.MultiheadAttention(
        block.width,
        block.num_heads,
        dropout=block.dropout,
        bias=block.use_bias,
        kdim=block.key_in,
        vdim=block.value_in,
        batch_first=True,
        dtype=getattr(torch, dtype),
    )
    layer.load_state_dict(state_dict(block, weights))
    return Peer(layer.eval(), block)


def rules(block: MultiHeadAttention) -> Rules:
    """What values of fields that follow from others have to be."""
    return {
        "num_kv_heads": (block.kv_heads == block.num_heads, "num_heads"),
        "output_width": ((block.output_width or block.width) == block.width, "width"),
        "head_width": (block.d * block.num_heads == block.width, "width / num_heads"),
        "value_head_width": (block.e == block.d, "head_width"),
        "output_bias": (block.output_bias == block.use_bias, "use_bias"),
        "scale": (block.scale == "head", "'head'"),
    }


def state_dict(block: MultiHeadAttention, w: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Canonical (in, out) kernels as torch's (out, in) rows, packed if all three inputs are ``width`` wide."""
    kernels = {name: w[f"{name}.kernel"].T for name in ("query", "key", "value")}
    if block.key_in == block.value_in == block.width:
        state = {"in_proj_weight": np.concatenate(list(kernels.values()))}
    else:
        state = {f"{name[0]}_proj_weight": kernel for name, kernel in kernels.items()}
    state["out_proj.weight"] = w["project.kernel"].T
    if block.use_bias:
        state["in_proj_bias"] = np.concatenate([w[f"{name}.bias"] for name in kernels])
        state["out_proj.bias"] = w["project.bias"]
    return {name: torch.from_numpy(np.array(value, order="C")) for name, value in state.items()}


def run(
    peer: Peer, inputs: Mapping[str, np.ndarray], *, need_weights: bool = True, gradients: bool = False
) -> np.ndarray:
    """Run on canonical inputs, True = attend. ``gradients`` keeps the layer off its native path."""
    refuse_inputs(NAME, inputs, INPUTS)
    dtype = peer.layer.out_proj.weight.dtype
    given = {name: lift(value, dtype) for name, value in peer.block.checked(**inputs).items()}
    query = given["query"]
    key = given.get("key", query)  # the same object, not an equal one: the native path asks for identity
    value = given.get("value", key)
    shape = query.shape[0], peer.block.num_heads, query.shape[1], key.shape[1]
    masks = masks_of(given.get("attention_mask"), given.get("bias"), peer.block.causal, shape)
    with torch.set_grad_enabled(gradients):
        output, _ = peer.layer(query, key, value, need_weights=need_weights, **masks)
    return output.detach().numpy()


def masks_of(
    attend: Tensor | None, bias: Tensor | None, causal: str | None, shape: tuple[int, int, int, int]
) -> dict[str, Any]:
    """Our mask, bias and causal option as the layer's ``attn_mask``, ``key_padding_mask`` and ``is_causal``."""
    b, h, t, s = shape
    if attend is not None and attend.ndim == 4 and attend.shape[1:3] == (1, 1) and bias is None and causal is None:
        return {"key_padding_mask": ~attend[:, 0, 0].expand(b, s)}
    hint = causal == "top_left" and attend is None and bias is None
    if causal is not None:
        past = torch.ones(t, s, dtype=torch.bool).tril(0 if causal == "top_left" else s - t)
        attend = past if attend is None else attend & past
    if attend is None and bias is None:
        return {}
    if attend is None or bias is None:
        mask = bias if attend is None else ~attend
    else:
        mask = torch.where(attend, bias, -torch.inf)
    assert mask is not None
    mask = mask[0, 0].expand(t, s) if mask.shape[:2] == (1, 1) else mask.expand(b, h, t, s).reshape(b * h, t, s)
    return {"attn_mask": mask, "is_causal": hint}
