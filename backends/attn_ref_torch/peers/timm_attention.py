"""timm's ``Attention`` as a peer of ``MultiHeadAttention``: the layer of its vision transformers.

Source: ``timm/layers/attention.py``. One packed linear layer gives query, key and value. A mask is True = attend, as
here, or it is added. The norm of query and key is of the class that ``norm_layer`` says: with an offset it is a layer
norm, without one a root mean square, and eps is in no file. A norm of the merged heads (``scale_norm``) and an output
gate (``gated``) have names of their own, which are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.expresses import inexpressible
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.multi_head_attention import FIELDS
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, linear, norm
from attn_ref_torch.timm_layer import layer_map, peer

ANYTHING = (
    "width", "num_heads", "head_width", "output_width", "use_bias", "output_bias", "qk_norm_eps", "dropout",
)  # fmt: skip
INPUTS = ("query", "attention_mask", "bias")


def refuses(block: MultiHeadAttention) -> list[str]:
    """What it cannot mean: fields that follow from others have to be what they are there."""
    rules = {
        "num_kv_heads": (block.kv_heads == block.num_heads, "num_heads"),
        "key_width": (block.key_in == block.width, "width"),
        "value_width": (block.value_in == block.width, "width"),
        "value_head_width": (block.e == block.d, "head_width"),
        "causal": (block.causal in (None, "top_left"), "None or 'top_left'"),
        "qk_norm": (block.qk_norm in (None, "layer", "rms"), "None, 'layer' or 'rms'"),
    }
    return inexpressible(block, ANYTHING, rules)


def rules(before: str = "", here: str = "") -> tuple[Rule, ...]:
    """The rules of all that it may have. ``before`` stands before its names, ``here`` before ours."""
    packed = [
        rule
        for n, name in enumerate(("query", "key", "value"))
        for rule in (
            Rule(f"{before}qkv.weight", f"{here}{name}.kernel", "transpose", Part(n, 1, 3)),
            Rule(f"{before}qkv.bias", f"{here}{name}.bias", part=Part(n, 1, 3)),
        )
    ]
    norms = norm(f"{before}q_norm", f"{here}query_norm"), norm(f"{before}k_norm", f"{here}key_norm")
    return (*packed, *linear(f"{before}proj", f"{here}project"), *norms[0], *norms[1])


def weights(block: MultiHeadAttention) -> Iterator[Rule]:
    """Its names."""
    return (rule for rule in rules() if rule.canonical in block.params())


def make(block: MultiHeadAttention, dtype: str) -> Any:
    """A new layer with ``block``'s options."""
    import torch

    from attn_ref_torch import timm

    layers = timm.module("layers")
    kinds = {"layer": layers.LayerNorm, "rms": layers.RmsNorm}
    return layers.Attention(
        block.width, block.num_heads, attn_head_dim=block.d, dim_out=block.output_width, qkv_bias=block.use_bias,
        proj_bias=block.output_bias, attn_drop=block.dropout, qk_norm=block.qk_norm is not None,
        norm_layer=partial(kinds[block.qk_norm], eps=block.qk_norm_eps) if block.qk_norm else None,
        dtype=getattr(torch, dtype),
    )  # fmt: skip


def call(layer: Any, block: MultiHeadAttention, given: Mapping[str, Any]) -> Any:
    """The layer on canonical inputs. Causal it is without a mask only, so else the mask says it."""
    import torch

    x, mask, bias = given["query"], given.get("attention_mask"), given.get("bias")
    if mask is None and bias is None:
        return layer(x, is_causal=block.causal is not None)
    if block.causal is not None:
        past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        mask = past if mask is None else mask & past
    if bias is None:
        return layer(x, attn_mask=mask)
    return layer(x, attn_mask=bias if mask is None else bias.masked_fill(~mask, -torch.inf))


def spots(block: MultiHeadAttention) -> Iterator[Spot]:
    """Where the taps are."""
    for module, name, labels in (("q_norm", "query", "b h t d"), ("k_norm", "key", "b g s d")):
        yield Spot(module, "in", name, labels)
        if block.qk_norm:
            yield Spot(module, "out", f"normed_{name}", labels)
    yield Spot("norm", "in", "merged", "b t c")
    yield Spot("proj", "out", "projected", "b t c")


PEER = peer(
    "timm.Attention",
    "MultiHeadAttention",
    refuses=refuses,
    inputs=INPUTS,
    weights=weights,
    make=make,
    call=call,
    spots=spots,
)
MAP = layer_map(
    "timm.Attention",
    "timm's Attention, query, key and value packed",
    "MultiHeadAttention",
    rules=rules(),
    derive=weights,
    beside=("dropout", "causal"),
    refuses=refuses,
    inputs=INPUTS,
    fields=replace(FIELDS, kinds={"qk_norm": {"query_norm.offset": "layer", "query_norm.scale": "rms"}}),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.ends import run_tapped

    return run_tapped(PEER, job)
