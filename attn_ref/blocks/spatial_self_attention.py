r"""Spatial self-attention (SAGAN): every pixel takes a weighted mean of all pixels, added to itself through a gate.

.. math:: Y = \gamma\, A V + X,\qquad A = \operatorname{softmax}(Q K^\top)\ \text{over the keys},\qquad
          Q = X * W_Q + b_Q,\; K = X * W_K + b_K,\; V = X * W_V + b_V

b batch, H height, W width, c channels; t the H·W pixels as queries, s the pixels as keys, row by row. All convolutions
are 1 × 1. γ (``gate``) is one number that starts at 0 in training, so that the block begins as the identity. The scores
are not scaled.

With ``sub_sample`` keys and values are the largest of every 2 × 2 window: of an odd size the last row or column is then
never a key, and sizes below 2 are refused. With ``project`` a 1 × 1 convolution W_O takes A V back to c channels.

Differences: the paper writes the value as W_v(W_h x) with W_h to c/8 channels, most re-implementations as one
convolution to c (the default here); the authors' code and BigGAN have ``sub_sample=True``, ``project=True``,
``value_head_width=channels // 2``, ``use_bias=False``. Spectral norm is a way to keep weights: give the
normalised ones. Some versions transpose the map or take the softmax over the queries.

Source: Zhang et al. 2019, "Self-Attention Generative Adversarial Networks", section 3, equations 1 to 3.

>>> import attn_ref as ar, numpy as np
>>> block = ar.SpatialSelfAttention(channels=8)
>>> block(block.init(), np.ones((1, 3, 5, 8))).shape
(1, 3, 5, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, conv, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class SpatialSelfAttention(Block):
    """gate · softmax(query · keyᵀ) · value + x over the pixels of ``x``."""

    channels: int = option(meaning="channels", above=0, witness=6)
    head_width: int | None = option(
        default=None, meaning="width of query and key; None: channels // 8, at least 1", above=0, witness=3
    )
    value_head_width: int | None = option(
        default=None, meaning="width of the value; None: channels", above=0,
        witness={"project": True, "value_head_width": 2},
    )  # fmt: skip
    sub_sample: bool = option(
        default=False, meaning="are keys and values the largest of every 2 × 2 window?", witness=True,
        draw=(False, True),
    )  # fmt: skip
    project: bool = option(default=False, meaning="is there an output projection?", witness=True)
    use_bias: bool = option(default=True, meaning="have the convolutions a bias?", witness=False, draw=(True, False))

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b H W c"
    least = {"H": "pool_size", "W": "pool_size"}
    example = {"channels": 4}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.project or self.e == self.channels,
            f"value_head_width = {self.e} is not channels = {self.channels}, so what is added to x needs project=True",
        )

    @property
    def d(self) -> int:
        return self.head_width or max(1, self.channels // 8)

    @property
    def e(self) -> int:
        return self.value_head_width or self.channels

    @property
    def pool_size(self) -> int:
        return 2 if self.sub_sample else 1

    def params(self) -> dict[str, Param]:
        return {
            "gate": Param((1,)),
            **conv("query", (1, 1), self.channels, self.d, bias=self.use_bias),
            **conv("key", (1, 1), self.channels, self.d, bias=self.use_bias),
            **conv("value", (1, 1), self.channels, self.e, bias=self.use_bias),
            **(conv("project", (1, 1), self.e, self.channels, bias=self.use_bias) if self.project else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> SpatialSelfAttention:
        project = pick(False, True)
        return cls(
            channels=pick(1, 4, 6, 16),
            head_width=pick(None, None, 1, 3),
            value_head_width=pick(None, 2, 5) if project else None,
            project=project,
            **cls.drawn(pick),
        )

    def forward(self, w: Any, x: Any) -> np.ndarray:
        q, k, v = (self.conv(w, name, x) for name in ("query", "key", "value"))
        if self.sub_sample:
            k, v = ops.max_pool(k, 2), ops.max_pool(v, 2)
        q, k, v = tap("query", flat(q), "b t d"), tap("key", flat(k), "b s d"), tap("value", flat(v), "b s e")

        scores = tap("scores", ops.matmul(q, k.swapaxes(1, 2)), "b t s")
        weights = tap("weights", ops.softmax(scores), "b t s")
        context = ops.matmul(weights, v).reshape(*x.shape[:3], self.e)
        y = tap("context", context, "b H W c")
        if self.project:
            y = tap("projected", self.conv(w, "project", y), "b H W c")
        return w["gate"] * y + x

    def conv(self, w: Any, name: str, x: Any) -> Any:
        return ops.conv(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.use_bias else None)


def flat(x: Any) -> Any:
    """(b, H, W, c) → (b, H·W, c), row by row."""
    b, height, width, channels = x.shape
    return x.reshape(b, height * width, channels)
