"""``nn.TransformerEncoderLayer`` as a peer of ``EncoderLayer``: built from the block, with the block's weights.

What it does differently:

- Masks are True = drop (``src_mask`` (t, t) or (b·h, t, t), ``src_key_padding_mask`` (b, t)); one ``dropout`` is for
  the hidden values, the sub-layers' results and the attention weights.
- ``eval`` without gradients takes a native path (even number of heads, relu or gelu). On it a row with nothing to
  attend to is NaN, which is zeros before the projection on the ordinary path; and a float mask is read as a bool one:
  what is not 0 is dropped, so an additive bias is not added. ``nn.MultiheadAttention`` leaves its own native path then.
- A single layer does not zero padded positions on either path. ``nn.TransformerEncoder``, the stack, does: without
  gradients it removes padding and fills zeros in afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.encoder_layer import EncoderLayer
from attn_ref.expresses import Rules, refuse, refuse_inputs
from attn_ref_torch.peers import multihead_attention
from attn_ref_torch.program import lift

ACTIVATIONS: dict[str, str | Callable[[Tensor], Tensor]] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}

NAME = "nn.TransformerEncoderLayer"
#: fields of which it takes any value, and inputs that it knows
ANYTHING = ("width", "num_heads", "hidden_width", "activation", "eps", "dropout")
INPUTS = ("x", "attention_mask", "bias")

#: the layer's name -> the canonical one, and whether it is transposed
NAMES = {
    "linear1.weight": ("feed_forward.expand.kernel", True),
    "linear1.bias": ("feed_forward.expand.bias", False),
    "linear2.weight": ("feed_forward.reduce.kernel", True),
    "linear2.bias": ("feed_forward.reduce.bias", False),
    "norm1.weight": ("attention_norm.scale", False),
    "norm1.bias": ("attention_norm.offset", False),
    "norm2.weight": ("feed_forward_norm.scale", False),
    "norm2.bias": ("feed_forward_norm.offset", False),
}


@dataclass(frozen=True)
class Peer:
    """The third-party layer, and the block that it was built from."""

    layer: nn.TransformerEncoderLayer
    block: EncoderLayer


def build(block: EncoderLayer, weights: Mapping[str, np.ndarray], dtype: str = "float64") -> Peer:
    """The layer with ``block``'s options and canonical ``weights``. ValueError: the fields that it cannot express."""
    rules: Rules = {
        "attention_dropout": (block.attention_dropout == block.dropout, f"dropout, which is {block.dropout!r}"),
        "norm_first": (block.norm_first is not None, "False or True"),
    }
    refuse(NAME, block, ANYTHING, rules)
    block.check_weights(weights)
    layer = nn.TransformerEncoderLayer(
        block.width,
        block.num_heads,
        dim_feedforward=block.hidden_width,
        dropout=block.dropout,
        activation=ACTIVATIONS[block.activation],
        layer_norm_eps=block.eps,
        batch_first=True,
        norm_first=bool(block.norm_first),
        dtype=getattr(torch, dtype),
    )
    layer.load_state_dict(state_dict(block, weights))
    return Peer(layer.eval(), block)


def state_dict(block: EncoderLayer, w: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Canonical weights by the layer's names, in its layouts."""
    attention = {name.removeprefix("attention."): x for name, x in w.items() if name.startswith("attention.")}
    state = multihead_attention.state_dict(block.attention, attention)
    state = {f"self_attn.{name}": x for name, x in state.items()}
    for name, (canonical, transposed) in NAMES.items():
        x = w[canonical]
        state[name] = torch.from_numpy(np.array(x.T if transposed else x, order="C"))
    return state


def run(peer: Peer, inputs: Mapping[str, np.ndarray], *, gradients: bool = False) -> np.ndarray:
    """Run on canonical inputs, True = attend. ``gradients`` keeps the layer off its native path."""
    refuse_inputs(NAME, inputs, INPUTS)
    dtype = peer.layer.linear1.weight.dtype
    given = {name: lift(value, dtype) for name, value in peer.block.checked(**inputs).items()}
    x = given["x"]
    shape = x.shape[0], peer.block.num_heads, x.shape[1], x.shape[1]
    masks = multihead_attention.masks_of(given.get("attention_mask"), given.get("bias"), None, shape)
    with torch.set_grad_enabled(gradients):
        output = peer.layer(
            x, src_mask=masks.get("attn_mask"), src_key_padding_mask=masks.get("key_padding_mask"), is_causal=False
        )
    return output.detach().numpy()
