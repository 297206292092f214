r"""Rotary position embedding: pairs of features turn by an angle that grows with the position, so that the product of a
query and a key depends on how far apart they are, not on where they stand.

.. math:: (a_i, b_i) \mapsto (a_i \cos\theta_i - b_i \sin\theta_i,\; a_i \sin\theta_i + b_i \cos\theta_i),\qquad
          \theta_i = \frac{p}{\text{scaling}}\, \text{base}^{-2i/r},\quad i = 0 \dots r/2 - 1

b batch, h heads, t length, d head width, r rotary width, f pairs (r/2), p the position. The features after the first
r stay as they are.

Differences: the paper, GPT-J and the Llama checkpoints as Meta publishes them turn neighbours, (0, 1), (2, 3) …:
"interleaved". GPT-NeoX and Hugging Face's Llama turn feature i with i + r/2: "half". The two give the same scores once
the features of the query and key projections are permuted, which is what Hugging Face's conversion of Llama does; with
the wrong one a model loads, runs and is wrong. Hugging Face computes angles in float32, also in a float64 model; here
they are float64, their sines and cosines of the dtype of x; in a mirror angles are of the dtype of x, but no less than
float32. ``scaling`` is Hugging Face's rope type "linear" with that factor.

Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", section 3.2.2, equation 34;
``scaling``: Chen et al. 2023, "Extending Context Window of Large Language Models via Positional Interpolation".

>>> import attn_ref as ar, numpy as np
>>> ar.RotaryEmbedding(width=8)({}, np.ones((1, 2, 3, 8))).shape
(1, 2, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Pick, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class RotaryEmbedding(Block):
    """Turns the features of a query or a key, after it was split into heads, by its positions."""

    width: int = option(meaning="width of one head", above=0, witness=6)
    rotary_width: int | None = option(
        default=None, meaning="how many of its features turn, the first ones; None: all", above=0, witness=4
    )
    pairing: str = option(
        default="half", meaning='"half": feature i turns with i + rotary_width/2; "interleaved": 2i with 2i + 1',
        choices=("half", "interleaved"), witness="interleaved", draw=("half", "interleaved"),
    )  # fmt: skip
    base: float = option(
        default=10000.0, meaning="the larger, the slower the last pairs turn", above=0, witness=100.0,
        draw=(10000.0, 10000.0, 500000.0, 100.0),
    )  # fmt: skip
    scaling: float = option(
        default=1.0, meaning="what positions are divided by", above=0, witness=2.5, draw=(1.0, 1.0, 2.5)
    )

    inputs = {
        "x": Input("b h t {width}"),
        "positions": Input("b t", kind="index", optional=True, broadcast=True, ranks=(1, 2)),  # left out: 0 … t − 1
    }
    output_axes = "b h t d"
    example = {"width": 8}

    def __post_init__(self) -> None:
        super().__post_init__()
        name = "width" if self.rotary_width is None else "rotary_width"
        self.require(
            self.r % 2 == 0, f"{name} = {self.r} is odd, and features turn in pairs; give an even rotary_width"
        )
        self.require(self.r <= self.width, f"rotary_width = {self.r} is more than width = {self.width}")

    @property
    def r(self) -> int:
        return self.width if self.rotary_width is None else self.rotary_width

    @classmethod
    def sample(cls, pick: Pick) -> RotaryEmbedding:
        turning, rest = pick(2, 4, 6, 16), pick(0, 0, 3, 8)
        return cls(
            width=turning + rest,
            rotary_width=turning if rest else None,
            **cls.drawn(pick),
        )

    def forward(self, w: Any, x: Any, positions: Any = None) -> np.ndarray:
        positions = np.arange(x.shape[2]) if positions is None else positions
        angles = ops.rotary_angles(np.atleast_2d(positions), self.r, base=self.base, scaling=self.scaling)
        angles = tap("angles", angles, "b t f")
        cos, sin = ops.cos(angles, like=x)[:, None], ops.sin(angles, like=x)[:, None]  # the same for every head

        a, b = ops.split_pairs(x[..., : self.r], self.pairing)
        turned = ops.merge_pairs(a * cos - b * sin, a * sin + b * cos, self.pairing)
        return tap("rotated", np.concatenate([turned, x[..., self.r :]], axis=-1), "b h t d")
