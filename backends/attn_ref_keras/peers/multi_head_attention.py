"""``keras.layers.MultiHeadAttention`` as a peer of ``MultiHeadAttention``: built from it, with its weights.

What it does differently:

- Kernels are (width, h, d), (width, h, e) and (h, e, width); ``key_dim`` and ``value_dim`` are the widths of one head;
  one ``use_bias`` is for all four projections. It is called with ``(query, value, key)``.
- ``use_causal_mask`` aligns at the top left. There is no additive bias. Every key head has one query head
  (``keras.layers.GroupedQueryAttention`` is another layer).
- A row with nothing to attend to is the mean of all values, masked and future ones too; zeros once scores are returned
  or ``dropout`` is above 0, even in inference, because both leave the fused function.
- On TensorFlow a bias of heads of width 1 is added along the tokens where there are as many of these as heads: Keras
  takes an array of shape (h, 1) for a vector (finding ``tf-add-bias``).
- On TensorFlow the scale passes through float32, so that float64 is off by about 1e-8 unless the root of the head
  width is exact (16: it is; 8: not). On JAX the fused softmax is computed in float32 (1e-7), and a ``value_dim`` other
  than ``key_dim`` raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.expresses import Rules, inexpressible
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.multi_head_attention import FIELDS
from attn_ref.foreign.peer import Peer, darkened
from attn_ref.foreign.rules import CUTS, Rule

if TYPE_CHECKING:
    import keras

#: fields of which it takes any value, and inputs that it knows
ANYTHING = (
    "width", "num_heads", "key_width", "value_width", "output_width", "head_width", "value_head_width", "use_bias",
    "dropout",
)  # fmt: skip
INPUTS = ("query", "key", "value", "attention_mask")
#: its projections
NAMES = {"query": "query_dense", "key": "key_dense", "value": "value_dense", "project": "output_dense"}


def shared_rules(block: MultiHeadAttention) -> Rules:
    """What all of Keras' layers of attention have to be: fields that follow from others, or are not all known."""
    return {
        "output_bias": (block.output_bias == block.use_bias, "use_bias"),
        "scale": (block.scale == "head", "'head'"),
        "causal": (block.causal in (None, "top_left"), "None or 'top_left'"),
    }


def refuses(block: MultiHeadAttention) -> list[str]:
    """What it cannot mean."""
    rules = {"num_kv_heads": (block.kv_heads == block.num_heads, "num_heads"), **shared_rules(block)}
    return inexpressible(block, ANYTHING, rules)


def make(block: MultiHeadAttention, dtype: str) -> keras.layers.MultiHeadAttention:
    """A new layer with ``block``'s options."""
    import keras

    layer = keras.layers.MultiHeadAttention(
        num_heads=block.num_heads,
        key_dim=block.d,
        value_dim=block.e,
        dropout=block.dropout,
        use_bias=block.use_bias,
        output_shape=block.output_width or block.width,
        dtype=dtype,
    )
    layer.build((None, None, block.width), (None, None, block.value_in), (None, None, block.key_in))
    return layer


def weights(block: MultiHeadAttention) -> Iterator[Rule]:
    """Heads are contiguous slices of the projected width, and an axis of their own there."""
    for name, here in NAMES.items():
        last = name == "project"
        yield Rule(f"{here}.kernel", f"{name}.kernel", "heads first" if last else "heads")
        if block.use_bias:
            yield Rule(f"{here}.bias", f"{name}.bias", "none" if last else "flat")


def stored(rules: Iterator[Rule], block: MultiHeadAttention | None = None) -> Iterator[Rule]:
    """The same under the names of files. The layouts go outward only if a ``block`` says how many heads there are."""
    for rule in rules:
        path, _, leaf = rule.foreign.rpartition(".")
        count = ""
        if block and rule.layout in CUTS:
            count = f" {block.kv_heads if rule.canonical.startswith(('key', 'value')) else block.num_heads}"
        yield replace(rule, foreign=f"{path}/vars/{('kernel', 'bias').index(leaf)}", layout=rule.layout + count)


def call(
    layer: keras.layers.MultiHeadAttention,
    block: MultiHeadAttention,
    given: Mapping[str, Any],
    *,
    return_scores: bool = False,
) -> Any:
    """The layer on canonical inputs, True = attend. ``return_scores`` leaves the fused function."""
    query = given["query"]
    key = given.get("key", query)
    output = layer(
        query,
        given.get("value", key),
        key=key,
        attention_mask=given.get("attention_mask"),
        return_attention_scores=return_scores,
        use_causal_mask=block.causal is not None,
        training=False,
    )
    return output[0] if return_scores else output


def misplaced(block: MultiHeadAttention, inputs: Mapping[str, np.ndarray]) -> bool:
    """Is a bias added along the tokens?"""
    lengths = {name: inputs[name if name in inputs else "query"].shape[1] for name in ("query", "key")}
    lengths["value"] = inputs["value"].shape[1] if "value" in inputs else lengths["key"]
    wide = {"query": block.d, "key": block.d, "value": block.e}
    heads = {"query": block.num_heads, "key": block.kv_heads, "value": block.kv_heads}
    return block.use_bias and any(wide[name] == 1 and lengths[name] == heads[name] > 1 for name in wide)


PEER = Peer(
    name="keras.layers.MultiHeadAttention",
    block="MultiHeadAttention",
    engine="tensorflow",
    needs=("keras", "tensorflow"),
    refuses=refuses,
    inputs=INPUTS,
    weights=weights,
    make=make,
    call=call,
    deviates={
        "a row with nothing to attend to is the mean of all values": lambda b, i: darkened(b, i, "attention"),
        "a bias of heads of width 1 is added along the tokens, where there are as many as heads": misplaced,
        "the scale passes through float32": lambda block, inputs: float(np.float32(block.d**-0.5)) != block.d**-0.5,
    },
)

#: what the axes of heads tell
RAW = {"num_heads": ("query.kernel", 1), "head_width": ("query.kernel", 2), "value_head_width": ("value.kernel", 2)}
MAP = Map(
    name="keras.MultiHeadAttention",
    summary="keras.layers.MultiHeadAttention, alone or as the one such layer of a model",
    formats=("keras_h5",),
    needs=("keras", "tensorflow"),
    extra="keras",
    block="MultiHeadAttention",
    rules=tuple(stored(weights(MultiHeadAttention(width=1, num_heads=1)))),
    derive=lambda block: stored(weights(block), block),
    prefixes=("layers/{block}/", ""),
    by_name=True,
    beside=("dropout", "causal"),
    refuses=refuses,
    inputs=INPUTS,
    fields=replace(FIELDS, raw=RAW),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_keras.ends import run_peer

    return run_peer(PEER, job, exact=("_inverse_sqrt_key_dim",))
