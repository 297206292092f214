r"""Channel self-attention: every channel takes a weighted sum of all channels, weighted by how alike they are as maps.

.. math:: Y = \gamma\, V A^\top + X * W_S + b_S,\qquad
          A_{ck} = \operatorname{softmax}_k \Bigl(\sum_n Q_{nc} K_{nk}\Bigr),\qquad
          Q = X * W_Q + b_Q,\; K = X * W_K + b_K,\; V = X * W_V + b_V

b batch, H height, W width; n the H·W pixels, c channels as queries and k channels as keys. All convolutions are 1 × 1.
The scores are sums over all pixels and are not scaled, so they grow with the map. γ (``gate``) is one number that
starts at 0 in training.

``invert`` takes the softmax of max − score, as DANet's code does: the channels that are least alike weigh most. Adding
the maximum changes nothing but the range.

Differences: DANet has no convolutions at all, ``project_inputs=False, project_shortcut=False, invert=True``; its paper
writes the softmax of the scores themselves. Where query, key and value are fewer channels than x, the shortcut is
projected to as many. Some versions apply the map transposed.

Source: Fu et al. 2019, "Dual Attention Network for Scene Segmentation", section 3.3, equations 3 and 4.

>>> import attn_ref as ar, numpy as np
>>> block = ar.ChannelSelfAttention(channels=8, inner_width=4)
>>> block(block.init(), np.ones((1, 3, 5, 8))).shape
(1, 3, 5, 4)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, conv, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class ChannelSelfAttention(Block):
    """gate · softmax(queryᵀ · key) · value + shortcut over the channels of ``x``."""

    channels: int = option(meaning="channels that come in", above=0, witness=6)
    inner_width: int | None = option(
        default=None, meaning="channels of query, key and value, and so of what comes out; None: channels", above=0,
        witness=3,
    )  # fmt: skip
    project_inputs: bool = option(
        default=True, meaning="are query, key and value convolutions of x? otherwise they are x", witness=False
    )
    project_shortcut: bool = option(
        default=True, meaning="is the shortcut a convolution of x? otherwise it is x", witness=False
    )
    invert: bool = option(default=False, meaning="softmax of max − score instead of the score", witness=True)
    use_bias: bool = option(default=True, meaning="have the convolutions a bias?", witness=False)

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b H W c"
    example = {"channels": 4}

    def __post_init__(self) -> None:
        super().__post_init__()
        told = f"inner_width = {self.inner} is not channels = {self.channels}"
        self.require(self.project_inputs or self.inner == self.channels, f"{told}, which needs project_inputs=True")
        self.require(self.project_shortcut or self.inner == self.channels, f"{told}, which needs project_shortcut=True")

    @property
    def inner(self) -> int:
        return self.inner_width or self.channels

    def params(self) -> dict[str, Param]:
        names = ("query", "key", "value") if self.project_inputs else ()
        names = (*names, "shortcut") if self.project_shortcut else names
        convs = [conv(name, (1, 1), self.channels, self.inner, bias=self.use_bias) for name in names]
        return {"gate": Param((1,))} | {name: param for params in convs for name, param in params.items()}

    @classmethod
    def sample(cls, pick: Pick) -> ChannelSelfAttention:
        project_inputs, project_shortcut = pick(True, True, False), pick(True, True, False)
        return cls(
            channels=pick(1, 4, 6, 16),
            inner_width=pick(None, 1, 3, 5) if project_inputs and project_shortcut else None,
            project_inputs=project_inputs,
            project_shortcut=project_shortcut,
            invert=pick(False, True),
            use_bias=pick(True, False) if project_inputs or project_shortcut else True,
        )

    def forward(self, w: Any, x: Any) -> np.ndarray:
        b, height, width, _ = x.shape
        q, k, v = (self.conv(w, name, x) if self.project_inputs else x for name in ("query", "key", "value"))
        q, k, v = (y.reshape(b, height * width, self.inner) for y in (q, k, v))
        q, k, v = tap("query", q, "b n c"), tap("key", k, "b n k"), tap("value", v, "b n k")

        scores = tap("scores", ops.matmul(q.swapaxes(1, 2), k), "b c k")
        if self.invert:
            scores = tap("inverted", ops.largest(scores, axis=-1, keepdims=True) - scores, "b c k")
        weights = tap("weights", ops.softmax(scores), "b c k")
        context = ops.matmul(v, weights.swapaxes(1, 2)).reshape(b, height, width, self.inner)
        y = w["gate"] * tap("context", context, "b H W c")
        return y + (tap("shortcut", self.conv(w, "shortcut", x), "b H W c") if self.project_shortcut else x)

    def conv(self, w: Any, name: str, x: Any) -> Any:
        return ops.conv(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.use_bias else None)
