r"""Attention with linear biases (ALiBi): the farther a key is behind a query, the less it counts, in each head by a
slope of its own. Nothing is learned.

.. math:: B_{hij} = m_h\,(p_j - p_i), \qquad m_h = 2^{-8h/n},\quad h = 1 \dots n

h heads, t query length, s key length, p a position. If the number of heads is no power of two, n is the largest one
below, and the other heads take every second slope of 2n heads: the first, the third …

The result is the ``bias`` of ``ScaledDotProductAttention``; ``bias[None]`` is that of ``MultiHeadAttention``. It is
float64, since positions have no precision that it could take: round it to the dtype of the scores that it is added to.

Differences: the paper's attention is causal, so p_j ≤ p_i and the bias is at most 0. A key after its query gets a
bias above 0 here, as in BLOOM; without a causal mask take ``symmetric``, which is −m|p_i − p_j|, as MPT does where
attention is not causal. BLOOM and causal MPT add m p_j, or m (p_j − the last position): that differs by one number
for every query, which softmax does not see. BLOOM computes slopes and products in float32 and rounds them to the
model's dtype.

Source: Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation",
section 3; the rule for other numbers of heads is in the code published with it.

>>> import attn_ref as ar, numpy as np
>>> ar.LinearPositionBias(num_heads=8)({}, np.arange(3))[0].tolist()
[[0.0, 0.5, 1.0], [-0.5, 0.0, 0.5], [-1.0, -0.5, 0.0]]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class LinearPositionBias(Block):
    """A bias for the scores from positions alone; keys stand where the queries do unless it is said otherwise."""

    num_heads: int = option(
        meaning="heads of the attention, each with its own slope", above=0, witness=4,
        draw=(1, 2, 3, 5, 8, 12, 16, 40),
    )  # fmt: skip
    symmetric: bool = option(
        default=False, meaning="does a key after its query lose as much as one as far before it?", witness=True,
        draw=(True, False),
    )  # fmt: skip

    role = "position bias"
    inputs = {
        "query_positions": Input("t", kind="index"),
        "key_positions": Input("s", kind="index", default="query_positions"),
    }
    output_axes = "h t s"
    example = {"num_heads": 3}

    def forward(self, w: Any, query_positions: Any, key_positions: Any = None) -> np.ndarray:
        key_positions = query_positions if key_positions is None else key_positions
        slopes = tap("slopes", ops.bias_slopes(self.num_heads), "h")
        offsets = key_positions.astype(int) - query_positions.astype(int)[:, None]
        offsets = np.where(offsets > 0, -offsets, offsets) if self.symmetric else offsets
        return tap("bias", slopes[:, None, None] * offsets, "h t s")
