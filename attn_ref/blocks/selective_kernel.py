r"""Selective kernel: branches with kernels of different sizes, mixed channel by channel by a softmax over the branches.

.. math:: Y_c = \sum_m a_{mc} U^{(m)}_c,\qquad a_{mc} = \frac{e^{(z B_m + d_m)_c}}{\sum_n e^{(z B_n + d_n)_c}},\qquad
          z = \phi\Bigl(\operatorname{mean}_{ij}\bigl(\textstyle\sum_m U^{(m)}\bigr) A + b_A\Bigr),\qquad
          U^{(m)} = \max\bigl(0, N_m(K_m * X)\bigr)

b batch, H height, W width, c channels, P and Q height and width that come out (⌈H / stride⌉, ⌈W / stride⌉), m branches,
d width of the bottleneck: max(c // reduction, min_width). K_m is a grouped convolution of size 3 + 2m padded by 1 + m,
m from 0; N_m batch norm; φ the identity, or batch norm and ReLU if ``bottleneck_norm``.

Differences: the paper's second kernel is 3 × 3 with a dilation of 2; here, as in the codes most in use, it is a real
5 × 5. Those codes disagree about φ: the paper and timm have batch norm and ReLU, others nothing. They disagree too
about the bias of K (``use_bias``), which N takes away again but for its running mean. timm's linear layers are 1 × 1
convolutions, its last one for all branches and without a bias, and it splits the channels among the branches if asked.

Source: Li et al. 2019, "Selective Kernel Networks", equations 1 to 6.

>>> import attn_ref as ar, numpy as np
>>> block = ar.SelectiveKernel(channels=8, groups=2, min_width=4)
>>> block(block.init(), np.ones((1, 5, 6, 8))).shape
(1, 5, 6, 8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, batch_norm, conv, dense, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class SelectiveKernel(Block):
    """Grouped convolutions of several sizes; their sum decides how much of each comes out, for every channel."""

    channels: int = option(meaning="channels that come in and out", above=0, witness=12)
    branches: int = option(
        default=2, meaning="how many kernels there are: 3, 5, 7 … wide", above=0, witness=3, draw=(2, 2, 3, 1)
    )
    groups: int = option(default=32, meaning="of the convolutions; divides channels", above=0, witness=4)
    reduction: int = option(
        default=16, meaning="the bottleneck has max(channels // reduction, min_width) values", above=0, witness=2,
        draw=(2, 4),
    )  # fmt: skip
    min_width: int = option(default=32, meaning="how many it has at least", above=0, witness=5, draw=(1, 2, 5))
    stride: int = option(default=1, meaning="of the convolutions", above=0, witness=2, draw=(1, 1, 2, 3))
    use_bias: bool = option(default=False, meaning="have the convolutions a bias?", witness=True, draw=(False, True))
    bottleneck_norm: bool = option(
        default=True, meaning="is the bottleneck normed and rectified?", witness=False, draw=(True, False)
    )
    eps: float = option(
        default=1e-5, meaning="added to the variance in the norms", above=0, witness=0.1, draw=(1e-5, 1e-3)
    )
    momentum: float = option(
        default=0.1, meaning="the share of the new value in the norms' running statistics", least=0, most=1,
        witness=0.5, draw=(0.1, 0.01, 0.3),
    )  # fmt: skip
    unbiased: bool = option(
        default=True, meaning="do the running variances follow the batch's unbiased variance?", witness=False,
        draw=(True, False),
    )  # fmt: skip

    inputs = {"x": Input("b H W {channels}")}
    output_axes = "b P Q c"
    counts = {"branches": "convs"}
    example = {"channels": 8, "groups": 2, "reduction": 4, "min_width": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.channels % self.groups == 0, f"groups = {self.groups} does not divide channels = {self.channels}"
        )

    @property
    def bottleneck(self) -> int:
        return max(self.channels // self.reduction, self.min_width)

    def params(self) -> dict[str, Param]:
        c, d, found = self.channels, self.bottleneck, dict[str, Param]()
        for m in range(self.branches):
            size = 3 + 2 * m
            found |= conv(f"convs.{m}", (size, size), c, c, bias=self.use_bias, groups=self.groups)
        for m in range(self.branches):
            found |= batch_norm(f"norms.{m}", c)
        found |= dense("reduce", c, d)
        found |= batch_norm("reduce_norm", d) if self.bottleneck_norm else {}
        for m in range(self.branches):
            found |= dense(f"selects.{m}", d, c)
        return found

    @classmethod
    def sample(cls, pick: Pick) -> SelectiveKernel:
        groups = pick(1, 2, 3)
        return cls(channels=groups * pick(2, 4), groups=groups, **cls.drawn(pick))

    def forward(self, w: Any, x: Any) -> np.ndarray:
        features = [self.branch(w, x, m) for m in range(self.branches)]
        fused = features[0]
        for feature in features[1:]:
            fused = fused + feature
        squeezed = tap("squeezed", ops.mean(tap("fused", fused, "b P Q c"), axis=(1, 2)), "b c")
        reduced = tap("reduced", ops.linear(squeezed, w["reduce.kernel"], w["reduce.bias"]), "b d")
        if self.bottleneck_norm:
            normed = tap("reduced_normed", self.standardised(w, "reduce_norm", reduced), "b d")
            reduced = tap("reduced_active", ops.relu(normed), "b d")
        logits = [ops.linear(reduced, w[f"selects.{m}.kernel"], w[f"selects.{m}.bias"]) for m in range(self.branches)]
        scores = tap("scores", np.stack(logits, axis=1), "b m c")
        weights = tap("weights", ops.softmax(scores, axis=1), "b m c")
        y = weights[:, 0, None, None, :] * features[0]
        for m in range(1, self.branches):
            y = y + weights[:, m, None, None, :] * features[m]
        return tap("selected", y, "b P Q c")

    def branch(self, w: Any, x: Any, m: int) -> Any:
        bias = w[f"convs.{m}.bias"] if self.use_bias else None
        convolved = ops.conv(x, w[f"convs.{m}.kernel"], bias, stride=self.stride, padding=1 + m, groups=self.groups)
        convolved = tap(f"convolved.{m}", convolved, "b P Q c")
        normed = tap(f"normed.{m}", self.standardised(w, f"norms.{m}", convolved), "b P Q c")
        return tap(f"features.{m}", ops.relu(normed), "b P Q c")

    def standardised(self, w: Any, name: str, x: Any) -> Any:
        return ops.batch_norm(x, w[name], eps=self.eps, momentum=self.momentum, unbiased=self.unbiased)
