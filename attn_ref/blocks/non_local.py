r"""Non-local block: every position takes a weighted mean of all positions, projected back and added to itself.

.. math:: Z = \operatorname{norm}\bigl(Y * W_Z + b_Z\bigr) + X,\qquad Y = A\,G,\qquad
          A = \operatorname{softmax}(s\,\Theta \Phi^\top)\ \text{over the keys}\quad\text{or}\quad
          A = \tfrac{1}{N}\, s\,\Theta \Phi^\top,\qquad
          \Theta = X * W_\theta,\; \Phi = \operatorname{pool}(X * W_\phi),\; G = \operatorname{pool}(X * W_g)

b batch, D depth (time), H height, W width, c channels; t all positions as queries, s those that are keys, N of them,
row by row; d inner width. ``dimensions`` says which there are: W, H W, or D H W. All convolutions have a kernel of 1.

``pairing="softmax"`` is the paper's embedded Gaussian, ``"dot"`` its dot product, divided by the number of keys. With
``sub_sample`` φ and g are the largest of every window of 2, along H and W, never along D; θ never is. Of an odd size
the last row or column is then no key, and sizes below 2 are refused. ``norm`` is a batch norm; the paper
starts its scale at 0, or W_Z without it, so that the block begins as the identity.

Differences: the paper's Gaussian (without embedding) and concatenation are not here. It does not scale; timm's
``NonLocalAttn`` does by 1/√c (``scale="input"``), has no sub-sampling, and an inner width of its own; others scale by
1/√d (``scale="inner"``). Keras' own batch norm has ``momentum`` 0.99, which is 0.01 here, and ``unbiased=False``.

Source: Wang et al. 2018, "Non-local Neural Networks", sections 3.2 and 3.3.

>>> import attn_ref as ar, numpy as np
>>> block = ar.NonLocal(channels=8, sub_sample=True)
>>> block(block.init(), np.ones((1, 3, 5, 8))).shape
(1, 3, 5, 8)
>>> ar.NonLocal(channels=8, dimensions=1).inputs["x"].labels
'b W {channels}'
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, batch_norm, conv, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class NonLocal(Block):
    """x + norm(conv(softmax(θ · φᵀ) · g)) over the positions of ``x``; its axes follow from ``dimensions``."""

    channels: int = option(meaning="channels", above=0, witness=6, draw=(1, 4, 6, 16))
    dimensions: int = option(default=2, meaning="of space: 1, 2 or 3", least=1, most=3, witness=3, draw=(2, 1, 2, 3))
    inner_width: int | None = option(
        default=None, meaning="channels of θ, φ and g; None: channels // 2, at least 1", above=0, witness=3,
        draw=(None, None, 1, 3),
    )  # fmt: skip
    pairing: str = option(
        default="softmax", choices=("softmax", "dot"), witness="dot", draw=("softmax", "dot"),
        meaning='what weighs: "softmax" of the scores, or the scores themselves divided by the number of keys, "dot"',
    )  # fmt: skip
    scale: float | str | None = option(
        default=None, choices=("input", "inner"), witness="input", draw=(None, None, "input", "inner", 0.3, -0.5),
        meaning='of the scores: "input": 1/√channels; "inner": 1/√inner_width; a number; None: no scaling',
    )  # fmt: skip
    sub_sample: bool = option(
        default=False, meaning="are φ and g the largest of every window of 2?", witness=True, draw=(False, True)
    )
    batch_norm: bool = option(default=False, meaning="is there a batch norm before x is added?", witness=True)
    eps: float = option(
        default=1e-5, meaning="added to the variance in it", above=0, needs="batch_norm",
        witness={"batch_norm": True, "eps": 0.1},
    )  # fmt: skip
    momentum: float = option(
        default=0.1, meaning="share of the new value in its running statistics", least=0, most=1, needs="batch_norm",
        witness={"batch_norm": True, "momentum": 0.5},
    )  # fmt: skip
    unbiased: bool = option(
        default=True, meaning="does its running variance follow the batch's unbiased variance?", needs="batch_norm",
        witness={"batch_norm": True, "unbiased": False},
    )  # fmt: skip
    use_bias: bool = option(default=True, meaning="have the convolutions a bias?", witness=False)

    inputs = {"x": Input("b H W {channels}")}  # with 2 dimensions; every block has its own, see __post_init__
    output_axes = "b H W c"
    least = {"H": "pool_size", "W": "pool_size"}
    example = {"channels": 4}

    def __post_init__(self) -> None:
        super().__post_init__()
        space = " ".join("DHW"[3 - self.dimensions :])
        vars(self).update(inputs={"x": Input(f"b {space} {{channels}}")}, output_axes=f"b {space} c")

    @property
    def inner(self) -> int:
        return self.inner_width or max(1, self.channels // 2)

    @property
    def pool_size(self) -> int:
        return 2 if self.sub_sample else 1

    def params(self) -> dict[str, Param]:
        size, bias = (1,) * self.dimensions, self.use_bias
        last = "norm.scale" if self.batch_norm else "project.kernel"
        params = {
            **conv("theta", size, self.channels, self.inner, bias=bias),
            **conv("phi", size, self.channels, self.inner, bias=bias),
            **conv("g", size, self.channels, self.inner, bias=bias),
            **conv("project", size, self.inner, self.channels, bias=bias),
            **(batch_norm("norm", self.channels) if self.batch_norm else {}),
        }
        return {**params, last: replace(params[last], start=0.0)}

    @classmethod
    def sample(cls, pick: Pick) -> NonLocal:
        norm = pick(False, True)
        return cls(
            **cls.drawn(pick),
            batch_norm=norm,
            eps=pick(1e-5, 1e-3) if norm else 1e-5,
            momentum=pick(0.1, 0.01, 1.0) if norm else 0.1,
            unbiased=pick(True, False) if norm else True,
            use_bias=pick(True, False),
        )

    def factor(self) -> float:
        """The number that the scores are multiplied by."""
        named = {"input": self.channels**-0.5, "inner": self.inner**-0.5, None: 1.0}
        return named[self.scale] if self.scale in named else float(self.scale)  # type: ignore[index,arg-type]

    def forward(self, w: Any, x: Any) -> np.ndarray:
        axes = self.output_axes
        theta, phi, g = (self.conv(w, name, x) for name in ("theta", "phi", "g"))
        if self.sub_sample:
            size = (1, 2, 2)[3 - self.dimensions :]
            phi, g = ops.max_pool(phi, size), ops.max_pool(g, size)
        theta, phi, g = tap("theta", flat(theta), "b t d"), tap("phi", flat(phi), "b s d"), tap("g", flat(g), "b s e")

        scores = tap("scores", ops.matmul(theta, phi.swapaxes(1, 2), factor=self.factor()), "b t s")
        weights = ops.softmax(scores) if self.pairing == "softmax" else scores / scores.shape[-1]
        weights = tap("weights", weights, "b t s")
        context = tap("context", ops.matmul(weights, g).reshape(*x.shape[:-1], self.inner), axes)
        y = tap("projected", self.conv(w, "project", context), axes)
        if self.batch_norm:
            y = ops.batch_norm(y, w["norm"], eps=self.eps, momentum=self.momentum, unbiased=self.unbiased)
            y = tap("normed", y, axes)
        return y + x

    def conv(self, w: Any, name: str, x: Any) -> Any:
        return ops.conv(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.use_bias else None)


def flat(x: Any) -> Any:
    """(b, space…, c) → (b, positions, c), row by row."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
