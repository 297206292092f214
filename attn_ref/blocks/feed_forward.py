r"""Position-wise feed-forward network: two linear layers with an activation between, the same at every position.

.. math:: Y = \operatorname{dropout}\bigl(\phi(X W_1 + b_1)\bigr) W_2 + b_2

b batch, t length, c width, f hidden width.

Differences: "gelu" is the one with the error function, as in torch and ``keras.activations``; ``keras.ops.gelu`` and
``jax.nn.gelu`` take the tanh form unless told otherwise, which is "gelu_tanh" here and up to 4.7e-4 away.
CLIP's "quick_gelu" is x σ(1.702 x), up to 0.021 away.

Source: Vaswani et al. 2017, section 3.3.

>>> import attn_ref as ar, numpy as np
>>> block = ar.FeedForward(width=8, hidden_width=32)
>>> block(block.init(), np.ones((1, 3, 8))).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, dense, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class FeedForward(Block):
    """Linear, activation, linear."""

    width: int = option(meaning="width that comes in and out", above=0, witness=6, draw=(5, 8))
    hidden_width: int = option(meaning="width between the two linear layers", above=0, witness=8, draw=(7, 16))
    activation: str = option(
        default="relu", meaning='"relu", "gelu" (error function), "gelu_tanh" or "quick_gelu"',
        choices=tuple(ops.ACTIVATIONS), witness="gelu", draw=("relu", "gelu", "gelu_tanh", "quick_gelu"),
    )  # fmt: skip
    use_bias: bool = option(
        default=True, meaning="have the two linear layers a bias?", witness=False, draw=(True, True, False)
    )
    dropout: float = option(
        default=0.0, meaning="share of the hidden values that training drops", least=0, below=1, witness=0.5,
        draw=(0.0, 0.25),
    )  # fmt: skip

    role = "feed-forward"
    inputs = {"x": Input("b t {width}")}
    output_axes = "b t c"
    example = {"width": 8, "hidden_width": 12}

    def params(self) -> dict[str, Param]:
        return {
            **dense("expand", self.width, self.hidden_width, bias=self.use_bias),
            **dense("reduce", self.hidden_width, self.width, bias=self.use_bias),
        }

    def forward(self, w: Any, x: Any) -> np.ndarray:
        hidden = tap("hidden", self.linear(w, "expand", x), "b t f")
        active = tap("active", ops.ACTIVATIONS[self.activation](hidden), "b t f")
        active = ops.dropout(active, self.dropout, "b t f")
        return tap("reduced", self.linear(w, "reduce", active), "b t c")

    def linear(self, w: Any, name: str, x: Any) -> Any:
        return ops.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.use_bias else None)
