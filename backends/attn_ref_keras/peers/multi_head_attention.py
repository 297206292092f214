"""``keras.layers.MultiHeadAttention`` as a peer of ``MultiHeadAttention``: built from it, with its weights.

What it does differently:

- Kernels are (width, h, d), (width, h, e) and (h, e, width); ``key_dim`` and ``value_dim`` are the widths of one head;
  one ``use_bias`` is for all four projections. It is called with ``(query, value, key)``.
- ``use_causal_mask`` aligns at the top left. There is no additive bias. Every key head has one query head
  (``keras.layers.GroupedQueryAttention`` is another layer).
- A row with nothing to attend to is the mean of all values, masked and future ones too; zeros once scores are returned
  or ``dropout`` is above 0, even in inference, because both leave the fused function.
- On TensorFlow the scale passes through float32, so that float64 is off by about 1e-8 unless the root of the head
  width is exact (16: it is; 8: not). On JAX the fused softmax is computed in float32 (1e-7), and a ``value_dim`` other
  than ``key_dim`` raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.expresses import Rules, refuse, refuse_inputs
from attn_ref_keras.program import lift

NAME = "keras.layers.MultiHeadAttention"
#: fields of which it takes any value, and inputs that it knows
ANYTHING = (
    "width", "num_heads", "key_width", "value_width", "output_width", "head_width", "value_head_width", "use_bias",
    "dropout",
)  # fmt: skip
INPUTS = ("query", "key", "value", "attention_mask")


@dataclass(frozen=True)
class Peer:
    """The third-party layer, and the block that it was built from."""

    layer: keras.layers.MultiHeadAttention
    block: MultiHeadAttention


def build(block: MultiHeadAttention, weights: Mapping[str, np.ndarray], dtype: str = "float64") -> Peer:
    """The layer with ``block``'s options and canonical ``weights``. ValueError: the fields that it cannot express."""
    refuse(NAME, block, ANYTHING, rules(block))
    block.check_weights(weights)
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
    for sub, name in zip(sublayers(layer), ("query", "key", "value", "project"), strict=True):
        sub.kernel.assign(weights[f"{name}.kernel"].reshape(sub.kernel.shape))  # heads are contiguous slices
        if block.use_bias:
            sub.bias.assign(weights[f"{name}.bias"].reshape(sub.bias.shape))
    return Peer(layer, block)


def sublayers(layer: keras.layers.MultiHeadAttention) -> tuple[Any, Any, Any, Any]:
    """The projections of query, key, value, and of the result."""
    return layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense


def rules(block: MultiHeadAttention) -> Rules:
    """What values of fields that follow from others, or are not all known, have to be."""
    return {
        "num_kv_heads": (block.kv_heads == block.num_heads, "num_heads"),
        "output_bias": (block.output_bias == block.use_bias, "use_bias"),
        "scale": (block.scale == "head", "'head'"),
        "causal": (block.causal in (None, "top_left"), "None or 'top_left'"),
    }


def run(peer: Peer, inputs: Mapping[str, np.ndarray], *, return_scores: bool = False) -> np.ndarray:
    """Run on canonical inputs, True = attend. ``return_scores`` leaves the fused function."""
    refuse_inputs(NAME, inputs, INPUTS)
    dtype = peer.layer.compute_dtype
    given = {name: lift(value, dtype) for name, value in peer.block.checked(**inputs).items()}
    query = given["query"]
    key = given.get("key", query)
    value = given.get("value", key)
    mask = given.get("attention_mask")
    output = peer.layer(
        query,
        value,
        key=key,
        attention_mask=mask,
        return_attention_scores=return_scores,
        use_causal_mask=peer.block.causal is not None,
        training=False,
    )
    return keras.ops.convert_to_numpy(output[0] if return_scores else output)
