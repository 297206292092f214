r"""Root mean square norm: every token by itself is divided by its root mean square, and scaled feature by feature.

.. math:: Y = \frac{X}{\sqrt{\frac{1}{c} \sum_c X^2 + \epsilon}} \odot \gamma

b batch, t length, c width. With ``zero_centered`` the parameter is γ − 1, which weight decay draws towards no change.

Differences: eps is 1e-6 here and in T5, 1e-5 in Llama 2 and Mistral; ``nn.RMSNorm`` takes that of the dtype unless
told otherwise. Gemma keeps γ − 1 (``zero_centered``): with its weights read as γ everything comes out near zero. Llama
rounds to the model's dtype before it multiplies by γ, Gemma after, which shows in bfloat16.

Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", equation 4 (there without eps); γ − 1: Gemma
Team 2024, "Gemma", by its published code.

>>> import attn_ref as ar, numpy as np
>>> block = ar.RMSNorm(width=8)
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
class RMSNorm(Block):
    """Divide by the root mean square, scale."""

    width: int = option(meaning="width that comes in and out", above=0, witness=6, draw=(5, 8, 1, 16))
    eps: float = option(
        default=1e-6, meaning="added to the mean square", above=0, witness=0.1, draw=(1e-6, 1e-12, 1e-5, 1e-3)
    )
    zero_centered: bool = option(
        default=False, meaning="is the parameter γ − 1, as in Gemma?", witness=True, draw=(False, True)
    )

    role = "norm"
    inputs = {"x": Input("b t {width}")}
    output_axes = "b t c"
    example = {"width": 8}

    def params(self) -> dict[str, Param]:
        return {"scale": Param((self.width,), "offset", start=0.0) if self.zero_centered else Param((self.width,))}

    def forward(self, w: Any, x: Any) -> np.ndarray:
        scale = 1.0 + w["scale"] if self.zero_centered else w["scale"]
        y = tap("normed", ops.rms_norm(x, eps=self.eps), "b t c")
        return tap("scaled", y * scale, "b t c")
