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

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.expresses import inexpressible
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.multi_head_attention import FIELDS
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Peer, darkened
from attn_ref.foreign.rules import Rule

if TYPE_CHECKING:
    from torch import Tensor, nn

#: fields of which it takes any value, and inputs that it knows
ANYTHING = ("width", "num_heads", "key_width", "value_width", "use_bias", "dropout", "causal")
INPUTS = ("query", "key", "value", "attention_mask", "bias")


def make(block: MultiHeadAttention, dtype: str) -> nn.MultiheadAttention:
    """A new layer with ``block``'s options."""
    import torch

    return torch.nn.MultiheadAttention(
        block.width,
        block.num_heads,
        dropout=block.dropout,
        bias=block.use_bias,
        kdim=block.key_in,
        vdim=block.value_in,
        batch_first=True,
        dtype=getattr(torch, dtype),
    )


def refuses(block: MultiHeadAttention) -> list[str]:
    """What it cannot mean: fields that follow from others have to be what they are there."""
    rules = {
        "num_kv_heads": (block.kv_heads == block.num_heads, "num_heads"),
        "output_width": ((block.output_width or block.width) == block.width, "width"),
        "head_width": (block.d * block.num_heads == block.width, "width / num_heads"),
        "value_head_width": (block.e == block.d, "head_width"),
        "output_bias": (block.output_bias == block.use_bias, "use_bias"),
        "scale": (block.scale == "head", "'head'"),
    }
    return inexpressible(block, ANYTHING, rules)


def weights(block: MultiHeadAttention, before: str = "", here: str = "") -> Iterator[Rule]:
    """Packed if all three inputs are ``width`` wide. ``before`` stands before its names, ``here`` before ours."""
    packed = block.key_in == block.value_in == block.width
    for n, name in enumerate(("query", "key", "value")):
        if packed:
            yield Rule(f"{before}in_proj_weight", f"{here}{name}.kernel", "transpose", Part(n, 1, 3))
        else:
            yield Rule(f"{before}{name[0]}_proj_weight", f"{here}{name}.kernel", "transpose")
        if block.use_bias:
            yield Rule(f"{before}in_proj_bias", f"{here}{name}.bias", part=Part(n, 1, 3))
    yield Rule(f"{before}out_proj.weight", f"{here}project.kernel", "transpose")
    if block.use_bias:
        yield Rule(f"{before}out_proj.bias", f"{here}project.bias")


def call(
    layer: nn.MultiheadAttention, block: MultiHeadAttention, given: Mapping[str, Tensor], *, need_weights: bool = True
) -> Tensor:
    """The layer on canonical inputs, True = attend."""
    query = given["query"]
    key = given.get("key", query)  # the same object, not an equal one: the native path asks for identity
    value = given.get("value", key)
    shape = query.shape[0], block.num_heads, query.shape[1], key.shape[1]
    masks = masks_of(given.get("attention_mask"), given.get("bias"), block.causal, shape)
    return layer(query, key, value, need_weights=need_weights, **masks)[0]


def masks_of(
    attend: Tensor | None, bias: Tensor | None, causal: str | None, shape: tuple[int, int, int, int]
) -> dict[str, Any]:
    """Our mask, bias and causal option as the layer's ``attn_mask``, ``key_padding_mask`` and ``is_causal``."""
    import torch

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


PEER = Peer(
    name="nn.MultiheadAttention",
    block="MultiHeadAttention",
    engine="torch",
    needs=("torch",),
    refuses=refuses,
    inputs=INPUTS,
    weights=weights,
    make=make,
    call=call,
    deviates={"a row with nothing to attend to is NaN": lambda block, inputs: darkened(block, inputs, "attention")},
)

#: packed, and apart
BLOCKS = MultiHeadAttention(width=2, num_heads=1), MultiHeadAttention(width=2, num_heads=1, key_width=1)
MAP = Map(
    name="torch.MultiheadAttention",
    summary="nn.MultiheadAttention, its input projections packed or apart",
    formats=("safetensors", "torch_pt"),
    needs=("torch",),
    extra="torch",
    block="MultiHeadAttention",
    rules=tuple(dict.fromkeys(rule for block in BLOCKS for rule in weights(block))),
    derive=weights,
    by_name=True,
    beside=("dropout", "causal"),
    refuses=refuses,
    inputs=INPUTS,
    fields=FIELDS,
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.ends import run_peer

    return run_peer(PEER, job)
