r"""A small convolutional network of attention blocks: four of them in a row, the mean over space, and a linear head.

.. math:: Y = \operatorname{mean}_{ij}\bigl(L(E(S(R(I))))_{ij}\bigr) W + b

b batch, H height, W width, c channels of the image, P and Q height and width of the features (⌈H / stride⌉,
⌈W / stride⌉), f their width, k classes. R is ``CBAMResidual``, from c to f channels, with a 3 × 3 kernel; S
``SelectiveKernel``, with a normed bottleneck; E ``SqueezeExcitation``; L ``NonLocal``, its batch norm included, whose
keys are the largest of every window of 2 if ``sub_sample``. One ``reduction`` makes all their bottlenecks, one ``eps``,
``momentum`` and ``unbiased`` hold for all batch norms.

Differences: this is no published network, but the papers' blocks one behind the other, each with the options of its
paper. Published networks put several stages of such blocks into a residual backbone, and spread the strides.

Source: Woo et al. 2018, "CBAM: Convolutional Block Attention Module"; Li et al. 2019, "Selective Kernel Networks"; Hu,
Shen and Sun 2018, "Squeeze-and-Excitation Networks"; Wang et al. 2018, "Non-local Neural Networks".

>>> import attn_ref as ar, numpy as np
>>> block = ar.AttentionCNN(**ar.AttentionCNN.example)
>>> block(block.init(), np.ones((1, 8, 8, 1))).shape
(1, 5)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, dense, nest, option, same
from attn_ref.blocks.cbam_residual import CBAMResidual
from attn_ref.blocks.non_local import NonLocal
from attn_ref.blocks.selective_kernel import SelectiveKernel
from attn_ref.blocks.squeeze_excitation import SqueezeExcitation
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class AttentionCNN(Block):
    """CBAM residual block, selective kernel, squeeze-and-excitation, non-local block, mean, head."""

    channels: int = option(meaning="channels of the image", above=0, witness=3)
    width: int = option(meaning="channels of the features", above=0, witness=12)
    num_classes: int = option(meaning="width of the linear head", above=0, witness=3, draw=(3, 7))
    stride: int = same(CBAMResidual, "stride", meaning="of the first block's convolution")
    branches: int = same(
        SelectiveKernel, "branches", meaning="how many kernels the selective kernel has: 3, 5, 7 … wide", draw=(2, 2, 3)
    )
    groups: int = option(default=1, meaning="of its convolutions; divides width", above=0, witness=4)
    reduction: int = same(
        CBAMResidual, "reduction", meaning="the bottlenecks of the first three blocks have width // reduction values"
    )
    sub_sample: bool = same(
        NonLocal, "sub_sample", meaning="are the non-local block's keys the largest of every window of 2?",
        draw=(True, False),
    )  # fmt: skip
    eps: float = same(CBAMResidual, "eps", meaning="added to the variance in every batch norm")
    momentum: float = same(CBAMResidual, "momentum", meaning="the share of the new value in the running statistics")
    unbiased: bool = same(
        CBAMResidual, "unbiased", meaning="do the running variances follow the batch's unbiased variance?"
    )

    inputs = {"image": Input("b H W {channels}")}
    output_axes = "b k"
    counts = {"branches": "selective_kernel.convs"}
    least = {"H": "least_size", "W": "least_size"}
    example = {"channels": 1, "width": 8, "num_classes": 5}

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.stem, self.selective_kernel  # how their options go together is checked there

    @property
    def least_size(self) -> int:
        """Of the image: what leaves the non-local block something to pool."""
        return self.stride + 1 if self.sub_sample else 1

    @property
    def norm_options(self) -> dict[str, Any]:
        """The options of every batch norm."""
        return {"eps": self.eps, "momentum": self.momentum, "unbiased": self.unbiased}

    @cached_property
    def stem(self) -> CBAMResidual:
        return CBAMResidual(**self.stem_options)

    @cached_property
    def selective_kernel(self) -> SelectiveKernel:
        return SelectiveKernel(**self.selective_kernel_options)

    @cached_property
    def squeeze_excitation(self) -> SqueezeExcitation:
        return SqueezeExcitation(channels=self.width, reduction=self.reduction)

    @cached_property
    def non_local(self) -> NonLocal:
        return NonLocal(**self.non_local_options)

    @property
    def stem_options(self) -> dict[str, Any]:
        own = {"channels": self.channels, "output_channels": self.width, "kernel_size": 3}
        return {**own, "stride": self.stride, "reduction": self.reduction, **self.norm_options}

    @property
    def selective_kernel_options(self) -> dict[str, Any]:
        own = {"channels": self.width, "branches": self.branches, "groups": self.groups, "reduction": self.reduction}
        return {**own, "min_width": 1, **self.norm_options}

    @property
    def non_local_options(self) -> dict[str, Any]:
        return {"channels": self.width, "sub_sample": self.sub_sample, "batch_norm": True, **self.norm_options}

    def params(self) -> dict[str, Param]:
        return {
            **nest("stem", self.stem),
            **nest("selective_kernel", self.selective_kernel),
            **nest("squeeze_excitation", self.squeeze_excitation),
            **nest("non_local", self.non_local),
            **dense("head", self.width, self.num_classes),
        }

    @classmethod
    def sample(cls, pick: Pick) -> AttentionCNN:
        groups = pick(1, 2, 3)
        return cls(channels=pick(1, 3), width=groups * pick(4, 5), groups=groups, **cls.drawn(pick))

    def forward(self, w: Any, image: Any) -> np.ndarray:
        x = self.stem(w["stem"], image)
        x = self.selective_kernel(w["selective_kernel"], x)
        x = self.squeeze_excitation(w["squeeze_excitation"], x)
        x = tap("features", self.non_local(w["non_local"], x), "b P Q f")
        pooled = tap("pooled", ops.mean(x, axis=(1, 2)), "b f")
        return tap("logits", ops.linear(pooled, w["head.kernel"], w["head.bias"]), "b k")
