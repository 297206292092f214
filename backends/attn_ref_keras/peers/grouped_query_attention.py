"""``keras.layers.GroupedQueryAttention`` as a peer of ``MultiHeadAttention``: built from it, with its weights.

It differs as ``keras.layers.MultiHeadAttention`` does, whose kernels it has, with fewer heads of key and value.
Query, key and value heads are of one width, and the output is as wide as the query. A head of keys is repeated for the
query heads next to each other. Its ``sliding_window`` and its gate are not taken: a window is said by no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.expresses import inexpressible
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.multi_head_attention import FIELDS
from attn_ref.foreign.rules import Rule
from attn_ref_keras.peers import multi_head_attention as plain

if TYPE_CHECKING:
    import keras

#: fields of which it takes any value
ANYTHING = ("width", "num_heads", "num_kv_heads", "key_width", "value_width", "head_width", "use_bias", "dropout")


def refuses(block: MultiHeadAttention) -> list[str]:
    """What it cannot mean."""
    rules = {
        "output_width": ((block.output_width or block.width) == block.width, "width"),
        "value_head_width": (block.e == block.d, "head_width"),
        **plain.shared_rules(block),
    }
    return inexpressible(block, ANYTHING, rules)


def make(block: MultiHeadAttention, dtype: str) -> keras.layers.GroupQueryAttention:
    """A new layer with ``block``'s options."""
    import keras

    layer = keras.layers.GroupQueryAttention(
        block.d, block.num_heads, block.kv_heads, dropout=block.dropout, use_bias=block.use_bias, dtype=dtype
    )
    layer.build((None, None, block.width), (None, None, block.value_in), (None, None, block.key_in))
    return layer


def weights(block: MultiHeadAttention) -> Iterator[Rule]:
    """Its names."""
    for rule in plain.weights(block):
        yield replace(rule, foreign=f"_{rule.foreign}")


PEER = replace(plain.PEER, name="keras.layers.GroupedQueryAttention", refuses=refuses, weights=weights, make=make)

MAP = replace(
    plain.MAP,
    name="keras.GroupedQueryAttention",
    summary="keras.layers.GroupedQueryAttention, alone or as the one such layer of a model",
    rules=tuple(plain.stored(weights(MultiHeadAttention(width=1, num_heads=1)))),
    derive=lambda block: plain.stored(weights(block), block),
    prefixes=("layers/grouped_query_attention/", ""),
    refuses=refuses,
    fields=replace(FIELDS, raw=plain.RAW | {"num_kv_heads": ("key.kernel", 1)}),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_keras.ends import run_peer

    return run_peer(PEER, job, exact=("_inverse_sqrt_head_dim",))
