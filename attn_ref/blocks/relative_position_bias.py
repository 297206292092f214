r"""T5's relative position bias: a learned number for each head and each bucket of distances, added to the scores.

.. math:: B_{hij} = T_{\,\text{bucket}(p_j - p_i),\,h}, \qquad
          \text{bucket}(n) = \begin{cases} n & n < e \\
          \min\bigl(e + \lfloor k \log(n/e) / \log(D/e) \rfloor,\; e + k - 1\bigr) & n \ge e \end{cases}

h heads, t query length, s key length, p a position, T the table, D the largest distance. Bidirectional, half of the
buckets are for keys at or before the query (n = p_i − p_j), the other half, counted on, for keys after it
(n = p_j − p_i); otherwise all are for keys before it and n = max(p_i − p_j, 0). e is half of the buckets on a side, k
the rest: near distances have a bucket each, far ones share.

The result is the ``bias`` of ``ScaledDotProductAttention``; ``bias[None]`` is that of ``MultiHeadAttention``. T5 does
not scale its scores, ``scale=None``, and all its layers share the first layer's table.

Differences: where k log(n/e) / log(D/e) is a whole number, rounding decides the bucket. Here the borders are computed
in whole numbers; Hugging Face takes logarithms in float32. With T5's own 32 buckets and distance of 128 both give the
same; ``docs/findings.md`` (torch-log-buckets) says where they do not.

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
section 2.1; the buckets' formula is in the code published with it.

>>> import attn_ref as ar, numpy as np
>>> block = ar.RelativePositionBias(num_heads=4)
>>> block(block.init(), np.arange(3), np.arange(5)).shape
(4, 3, 5)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class RelativePositionBias(Block):
    """A learned bias for the scores; keys stand where the queries do unless it is said otherwise."""

    num_heads: int = option(
        meaning="heads of the attention, each with its own column of the table", above=0, witness=4, draw=(1, 2, 3, 5)
    )
    num_buckets: int = option(default=32, meaning="rows of the table", above=0, witness=8, draw=(32, 4, 6, 12, 20))
    max_distance: int = option(
        default=128, meaning="from this distance on, at the latest, all share the last bucket", above=0, witness=20,
        draw=(128, 17, 24, 45, 300),
    )  # fmt: skip
    bidirectional: bool = option(
        default=True, witness=False, draw=(True, False),
        meaning="have keys after their query buckets of their own? False: they all count as distance 0",
    )  # fmt: skip

    role = "position bias"
    inputs = {
        "query_positions": Input("t", kind="index"),
        "key_positions": Input("s", kind="index", default="query_positions"),
    }
    output_axes = "h t s"
    example = {"num_heads": 3}

    def __post_init__(self) -> None:
        super().__post_init__()
        sides, n = (2, self.num_buckets) if self.bidirectional else (1, self.num_buckets)
        self.require(
            n >= 2 * sides and n % sides == 0,
            f"num_buckets = {n} should be {'even and at least 4' if sides == 2 else 'at least 2'}, "
            f"with bidirectional = {self.bidirectional}",
        )
        near = n // sides // 2
        self.require(
            self.max_distance > near,
            f"max_distance = {self.max_distance} should be more than {near}, the distances with a bucket each",
        )

    def params(self) -> dict[str, Param]:
        return {"table.embedding": Param((self.num_buckets, self.num_heads))}

    def forward(self, w: Any, query_positions: Any, key_positions: Any = None) -> np.ndarray:
        key_positions = query_positions if key_positions is None else key_positions
        offsets = key_positions.astype(int) - query_positions.astype(int)[:, None]
        buckets = ops.distance_buckets(
            offsets,
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
            bidirectional=self.bidirectional,
        )
        return tap("bias", ops.embedding(buckets, w["table.embedding"]).transpose(2, 0, 1), "h t s")
