r"""Patch embedding: an image cut into square patches that do not overlap, each mapped linearly to a token.

.. math:: X_{i \cdot W + j} = \sum_{u,v < p} I_{pi+u,\,pj+v}\, K_{u,v} + b

b batch, H rows of patches, W patches in a row, p the side of a patch, c width. The image I is (b, H·p, W·p, channels),
the kernel K is (p, p, channels, c). Tokens come row by row: patch (i, j) is token i·W + j.

Differences: a convolution whose stride is its kernel drops, without a word, the rows and columns that are left over
where the patch does not divide the image; here such an image is refused. torch takes images channels first, and so does
its mirror; Keras and this definition take them channels last.

Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1.

>>> import attn_ref as ar, numpy as np
>>> block = ar.PatchEmbedding(patch=4, channels=3, width=8)
>>> block(block.init(), np.ones((1, 8, 12, 3))).shape
(1, 6, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, conv, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class PatchEmbedding(Block):
    """A convolution with stride = kernel = patch, and its results as a row of tokens."""

    patch: int = option(meaning="side of a patch, in pixels", above=0, witness=2, draw=(1, 2, 3, 4))
    channels: int = option(meaning="channels of the image", above=0, witness=3, draw=(1, 3, 4))
    width: int = option(meaning="width of a token", above=0, witness=6, draw=(5, 8))
    use_bias: bool = option(default=True, meaning="is there a bias?", witness=False, draw=(True, True, False))

    inputs = {"image": Input("b (H {patch}) (W {patch}) {channels}")}
    output_axes = "b t c"
    example = {"patch": 3, "channels": 2, "width": 8}

    def params(self) -> dict[str, Param]:
        return conv("project", (self.patch, self.patch), self.channels, self.width, bias=self.use_bias)

    def forward(self, w: Any, image: Any) -> np.ndarray:
        bias = w["project.bias"] if self.use_bias else None
        patches = ops.conv(image, w["project.kernel"], bias, stride=self.patch)
        patches = tap("projected", patches, "b H W c")
        b, rows, columns, width = patches.shape
        return tap("tokens", patches.reshape(b, rows * columns, width), "b t c")
