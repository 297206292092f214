r"""Squeeze-and-excitation: every channel is scaled by a share that all channels' means decide together.

.. math:: Y_c = X_c \, s_c,\qquad s = \sigma\bigl(\max(0, z W_1 + b_1) W_2 + b_2\bigr),\qquad
          z_c = \frac{1}{H W} \sum_{i,j} X_{ijc}

b batch, H height, W width, c channels, r width of the bottleneck: c // reduction, or ``reduced_width``.

Differences: published networks disagree about r: the paper takes c / 16 in ResNets, MobileNetV3 and torchvision round
c / 4 to a multiple of 8, timm has both a ratio and a rounding, others take a minimum; whoever ports gives
``reduced_width``. The original code has biases, CBAM's channel attention none. A linear layer here is a 1 × 1
convolution in many codes: the same numbers in a kernel of rank 4. "hard_sigmoid" is relu6(x + 3) / 6, as in
MobileNetV3, torch and Keras 3; Keras 2 had clip(0.2 x + 0.5, 0, 1) under that name, which is up to 0.083 away.

Source: Hu, Shen and Sun 2018, "Squeeze-and-Excitation Networks", equations 2 to 4; hard sigmoid: Howard et al. 2019,
"Searching for MobileNetV3".

>>> import attn_ref as ar, numpy as np
>>> block = ar.SqueezeExcitation(channels=8, reduction=4)
>>> block(block.init(), np.ones((1, 5, 6, 8))).shape
(1, 5, 6, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, dense, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class SqueezeExcitation(Block):
    """Mean over space, a bottleneck of two linear layers, a gate for every channel."""

    channels: int = option(meaning="channels that come in and out", above=0, witness=12, draw=(5, 8, 12))
    reduction: int = option(
        default=16, meaning="the bottleneck has channels // reduction values", above=0, witness=2, draw=(2, 4)
    )
    reduced_width: int | None = option(
        default=None, meaning="how many values it has instead; None: channels // reduction", above=0, witness=3,
        draw=(None, None, 3, 7),
    )  # fmt: skip
    use_bias: bool = option(default=True, meaning="have the linear layers a bias?", witness=False, draw=(True, False))
    gate: str = option(
        default="sigmoid", meaning='"sigmoid", or "hard_sigmoid": relu6(x + 3) / 6', choices=tuple(ops.GATES),
        witness="hard_sigmoid", draw=("sigmoid", "hard_sigmoid"),
    )  # fmt: skip

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
        squeezed = tap("squeezed", ops.mean(x, axis=(1, 2)), "b c")
        reduced = tap("reduced", self.linear(w, "reduce", squeezed), "b r")
        active = tap("active", ops.relu(reduced), "b r")
        expanded = tap("expanded", self.linear(w, "expand", active), "b c")
        gate = tap("gate", ops.GATES[self.gate](expanded), "b c")
        return tap("excited", x * gate[:, None, None, :], "b H W c")

    def linear(self, w: Any, name: str, x: Any) -> Any:
        return ops.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.use_bias else None)
