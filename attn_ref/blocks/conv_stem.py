r"""Stem of a speech encoder: two convolutions over time, each activated; the second one leaves out frames.

.. math:: Y = \phi\bigl(K_2 *_{r} \phi(K_1 * X + b_1) + b_2\bigr)

b batch, N frames that come in, k features of a frame, t frames that come out, c width. φ is GELU, ∗ᵣ a convolution
with stride r. Both see k // 2 frames beyond the ends, which are 0, so that t = ⌈N / r⌉.

Differences: Whisper's features come as (b, k, N), which is torch's layout of images; here frames come before features.
Its mirrors in torch take them as torch has them.

Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2.

>>> import attn_ref as ar, numpy as np
>>> block = ar.ConvStem(channels=4, width=8)
>>> block(block.init(), np.ones((1, 6, 4))).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, conv, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class ConvStem(Block):
    """Two convolutions over time."""

    channels: int = option(meaning="features of a frame that comes in", above=0, witness=3, draw=(1, 3, 4))
    width: int = option(meaning="width of a frame that comes out", above=0, witness=6, draw=(5, 8))
    kernel_size: int = option(
        default=3, meaning="how many frames a convolution sees; odd", above=0, witness=5, draw=(3, 3, 1, 5)
    )
    stride: int = option(
        default=2, meaning="of how many frames the second convolution leaves one", above=0, witness=3, draw=(2, 1, 3)
    )

    role = "stem"
    inputs = {"x": Input("b N {channels}")}
    output_axes = "b t c"
    example = {"channels": 2, "width": 8}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_odd("kernel_size")

    def params(self) -> dict[str, Param]:
        size = (self.kernel_size,)
        return {**conv("first", size, self.channels, self.width), **conv("second", size, self.width, self.width)}

    def forward(self, w: Any, x: Any) -> np.ndarray:
        side = self.kernel_size // 2
        x = tap("first", ops.conv(x, w["first.kernel"], w["first.bias"], padding=side), "b N c")
        x = tap("first_active", ops.gelu(x), "b N c")
        x = ops.conv(x, w["second.kernel"], w["second.bias"], stride=self.stride, padding=side)
        return tap("second_active", ops.gelu(tap("second", x, "b t c")), "b t c")
