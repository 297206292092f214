r"""Channel attention of CBAM: every channel is scaled by a share that its mean and its maximum decide.

.. math:: Y_c = X_c \, s_c,\qquad s = \sigma\bigl(f(\operatorname{mean}_{ij} X_{ij}) + f(\max_{ij} X_{ij})\bigr),\qquad
          f(z) = \max(0, z W_1 + b_1) W_2 + b_2

b batch, H height, W width, c channels, r width of the bottleneck: c // reduction, or ``reduced_width``. f is one and
the same for both: its weights are shared.

Differences: the paper writes no biases, and neither have most codes, where f is a pair of 1 × 1 convolutions; the
authors' own has linear layers with biases (``use_bias=True``). Some codes give each pooling an f of its own, or apply
it once to the sum: other functions. Where several positions share the maximum, a maximum over axes shares the gradient
among them, and max pooling gives it to one.

Source: Woo et al. 2018, "CBAM: Convolutional Block Attention Module", equation 2.

>>> import attn_ref as ar, numpy as np
>>> block = ar.ChannelAttention(channels=8, reduction=4)
>>> block(block.init(), np.ones((1, 5, 6, 8))).shape
(1, 5, 6, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, dense, option
from attn_ref.tap import scope, tap


@dataclass(frozen=True, kw_only=True)
class ChannelAttention(Block):
    """Mean and maximum over space through one shared bottleneck, a sigmoid gate for every channel."""

    channels: int = option(meaning="channels that come in and out", above=0, witness=12, draw=(5, 8, 12))
    reduction: int = option(
        default=16, meaning="the bottleneck has channels // reduction values", above=0, witness=2, draw=(2, 4)
    )
    reduced_width: int | None = option(
        default=None, meaning="how many values it has instead; None: channels // reduction", above=0, witness=3,
        draw=(None, None, 3, 7),
    )  # fmt: skip
    use_bias: bool = option(default=False, meaning="have the linear layers a bias?", witness=True, draw=(True, False))

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b H W c"
    example = {"channels": 8, "reduction": 4}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_bottleneck()

    @property
    def bottleneck(self) -> int:
        return self.reduced_width or self.channels // self.reduction

    def params(self) -> dict[str, Param]:
        return {
            **dense("reduce", self.channels, self.bottleneck, bias=self.use_bias),
            **dense("expand", self.bottleneck, self.channels, bias=self.use_bias),
        }

    def forward(self, w: Any, x: Any) -> np.ndarray:
        average = self.shared(w, "average", ops.mean(x, axis=(1, 2)))
        maximum = self.shared(w, "maximum", ops.largest(x, axis=(1, 2)))
        gate = tap("gate", ops.sigmoid(average + maximum), "b c")
        return tap("scaled", x * gate[:, None, None, :], "b H W c")

    def shared(self, w: Any, name: str, pooled: Any) -> Any:
        with scope(name):
            pooled = tap("pooled", pooled, "b c")
            reduced = tap("reduced", self.linear(w, "reduce", pooled), "b r")
            active = tap("active", ops.relu(reduced), "b r")
            return tap("expanded", self.linear(w, "expand", active), "b c")

    def linear(self, w: Any, name: str, x: Any) -> Any:
        return ops.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.use_bias else None)
