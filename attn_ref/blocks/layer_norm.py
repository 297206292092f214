r"""Layer norm: every token by itself is centred, divided by its spread, and scaled and shifted feature by feature.

.. math:: Y = \frac{X - \mu}{\sqrt{\sigma^2 + \epsilon}} \odot \gamma + \beta,\qquad
          \mu = \frac{1}{c} \sum_c X,\quad \sigma^2 = \frac{1}{c} \sum_c (X - \mu)^2

b batch, t length, c width.

Differences: eps is 1e-5 in torch and 1e-3 in ``keras.layers.LayerNormalization``; BERT has 1e-12, ViT 1e-6. Some
re-implementations add it to the standard deviation, or take the unbiased variance. A variance that is computed as
E[x²] − E[x]² loses its digits where the mean is large.

Source: Ba, Kiros and Hinton 2016, "Layer Normalization", equations 3 and 4 (there without eps); without scale and
offset: Groeneveld et al. 2024, "OLMo"; without offset: Xu et al. 2019, "Understanding and Improving Layer
Normalization".

>>> import attn_ref as ar, numpy as np
>>> block = ar.LayerNorm(width=8)
>>> block(block.init(), np.ones((1, 3, 8))).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Block):
    """Centre, divide by the spread, scale, shift."""

    width: int = option(meaning="width that comes in and out", above=0, witness=6, draw=(5, 8, 1, 16))
    eps: float = option(
        default=1e-5, meaning="added to the variance", above=0, witness=0.1, draw=(1e-5, 1e-12, 1e-6, 1e-3)
    )
    use_scale: bool = option(default=True, meaning="is there a learned scale γ?", witness=False, draw=(True, False))
    use_offset: bool = option(default=True, meaning="is there a learned offset β?", witness=False, draw=(True, False))

    role = "norm"
    inputs = {"x": Input("b t {width}")}
    output_axes = "b t c"
    example = {"width": 8}

    def params(self) -> dict[str, Param]:
        scale, offset = {"scale": Param((self.width,))}, {"offset": Param((self.width,))}
        return {**(scale if self.use_scale else {}), **(offset if self.use_offset else {})}

    def forward(self, w: Any, x: Any) -> np.ndarray:
        y = tap("normed", ops.layer_norm(x, eps=self.eps), "b t c")
        if self.use_scale:
            y = tap("scaled", y * w["scale"], "b t c")
        return tap("shifted", y + w["offset"], "b t c") if self.use_offset else y
