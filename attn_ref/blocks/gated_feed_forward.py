r"""Gated feed-forward network: one linear layer, activated, gates another, feature by feature; a third one narrows.

.. math:: Y = \operatorname{dropout}\bigl(\phi(X W_g + b_g) \odot (X W_1 + b_1)\bigr) W_2 + b_2

b batch, t length, c width, f hidden width. φ names the variant: SwiGLU has "silu", GeGLU "gelu", ReGLU "relu", GLU
"sigmoid".

Differences: Hugging Face's Llama, Mistral, Qwen and Gemma call the three ``gate_proj``, ``up_proj`` and ``down_proj``;
Meta's Llama ``w1``, ``w3`` and ``w2``. Phi-3 and ChatGLM pack gate and expansion into one kernel, in one order or the
other; ``nn.GLU`` gates by its second half. Gemma's "gelu" is "gelu_tanh". T5 v1.1 and Llama have no biases.

Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6.

>>> import attn_ref as ar, numpy as np
>>> block = ar.GatedFeedForward(width=8, hidden_width=24)
>>> block(block.init(), np.ones((1, 3, 8))).shape
(1, 3, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, dense, option, same
from attn_ref.blocks.feed_forward import FeedForward
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class GatedFeedForward(Block):
    """Gate times expansion, then reduction."""

    width: int = option(meaning="width that comes in and out", above=0, witness=6, draw=(5, 8))
    hidden_width: int = option(meaning="width between the linear layers", above=0, witness=8, draw=(7, 16))
    activation: str = option(
        default="silu", choices=tuple(ops.GATED), witness="relu", draw=tuple(ops.GATED),
        meaning='of the gate: "silu" (SwiGLU), "gelu" or "gelu_tanh" (GeGLU), "relu" (ReGLU) or "sigmoid" (GLU)',
    )  # fmt: skip
    use_bias: bool = option(
        default=False, meaning="have the three linear layers a bias?", witness=True, draw=(False, True)
    )
    dropout: float = same(FeedForward, "dropout")

    role = "feed-forward"
    inputs = {"x": Input("b t {width}")}
    output_axes = "b t c"
    example = {"width": 8, "hidden_width": 12}

    def params(self) -> dict[str, Param]:
        return {
            **dense("gate", self.width, self.hidden_width, bias=self.use_bias),
            **dense("expand", self.width, self.hidden_width, bias=self.use_bias),
            **dense("reduce", self.hidden_width, self.width, bias=self.use_bias),
        }

    def forward(self, w: Any, x: Any) -> np.ndarray:
        gate = tap("gate", self.linear(w, "gate", x), "b t f")
        active = tap("active", ops.GATED[self.activation](gate), "b t f")
        hidden = tap("hidden", self.linear(w, "expand", x), "b t f")
        gated = ops.dropout(tap("gated", active * hidden, "b t f"), self.dropout, "b t f")
        return tap("reduced", self.linear(w, "reduce", gated), "b t c")

    def linear(self, w: Any, name: str, x: Any) -> Any:
        return ops.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.use_bias else None)
