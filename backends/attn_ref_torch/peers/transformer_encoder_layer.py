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

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from attn_ref.blocks.encoder_layer import EncoderLayer
from attn_ref.expresses import Rules, inexpressible
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Peer, darkened
from attn_ref.foreign.rules import Rule, linear, norm
from attn_ref_torch.peers import multihead_attention

if TYPE_CHECKING:
    from torch import Tensor, nn

#: fields of which it takes any value, and inputs that it knows
ANYTHING = ("width", "num_heads", "hidden_width", "activation", "eps", "dropout")
INPUTS = ("x", "attention_mask", "bias")


def refuses(block: EncoderLayer) -> list[str]:
    """What it cannot mean."""
    rules: Rules = {
        "attention_dropout": (block.attention_dropout == block.dropout, f"dropout, which is {block.dropout!r}"),
        "norm_first": (block.norm_first is not None, "False or True"),
    }
    return inexpressible(block, ANYTHING, rules)


def make(block: EncoderLayer, dtype: str) -> nn.TransformerEncoderLayer:
    """A new layer with ``block``'s options."""
    import torch
    from torch.nn import functional as F

    activations: dict[str, Any] = {"gelu_tanh": partial(F.gelu, approximate="tanh")}
    return torch.nn.TransformerEncoderLayer(
        block.width,
        block.num_heads,
        dim_feedforward=block.hidden_width,
        dropout=block.dropout,
        activation=activations.get(block.activation, block.activation),
        layer_norm_eps=block.eps,
        batch_first=True,
        norm_first=bool(block.norm_first),
        dtype=getattr(torch, dtype),
    )


def weights(block: EncoderLayer) -> Iterator[Rule]:
    """Its names."""
    yield from multihead_attention.weights(block.attention, "self_attn.", "attention.")
    for foreign, canonical in {"linear1": "feed_forward.expand", "linear2": "feed_forward.reduce"}.items():
        yield from linear(foreign, canonical)
    for foreign, canonical in {"norm1": "attention_norm", "norm2": "feed_forward_norm"}.items():
        yield from norm(foreign, canonical)


def call(layer: nn.TransformerEncoderLayer, block: EncoderLayer, given: Mapping[str, Tensor]) -> Tensor:
    """The layer on canonical inputs, True = attend."""
    x = given["x"]
    shape = x.shape[0], block.num_heads, x.shape[1], x.shape[1]
    masks = multihead_attention.masks_of(given.get("attention_mask"), given.get("bias"), None, shape)
    return layer(
        x, src_mask=masks.get("attn_mask"), src_key_padding_mask=masks.get("key_padding_mask"), is_causal=False
    )


PEER = Peer(
    name="nn.TransformerEncoderLayer",
    block="EncoderLayer",
    engine="torch",
    needs=("torch",),
    refuses=refuses,
    inputs=INPUTS,
    weights=weights,
    make=make,
    call=call,
    deviates={
        "on its native path a row with nothing to attend to is NaN": lambda b, i: darkened(b, i, "attention.attention"),
        "on its native path an additive bias is read as True = drop": lambda block, inputs: "bias" in inputs,
    },
)

MAP = Map(
    name="torch.TransformerEncoderLayer",
    summary="nn.TransformerEncoderLayer",
    formats=("safetensors", "torch_pt"),
    needs=("torch",),
    extra="torch",
    block="EncoderLayer",
    rules=tuple(weights(EncoderLayer(width=2, num_heads=1, hidden_width=1))),
    by_name=True,
    beside=("dropout", "attention_dropout"),
    refuses=refuses,
    inputs=INPUTS,
    fields=FieldRules(
        sizes={"width": ("attention.query.kernel", 0), "hidden_width": ("feed_forward.expand.kernel", 1)},
        asked=("activation", "norm_first", "eps"),
    ),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.ends import run_peer

    return run_peer(PEER, job)
