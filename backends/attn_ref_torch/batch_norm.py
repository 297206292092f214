"""Batch norm of any rank, its two conventions for the running variance, and what it becomes as taps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.tap import probing, scope, tap


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """``nn.BatchNorm1d``, ``2d`` or ``3d`` by what comes in: channels are axis 1.

    ``unbiased``: the running variance follows the batch's unbiased variance, as torch has it, or the biased one.
    """

    momentum: float
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, *, eps: float, momentum: float, unbiased: bool) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.unbiased = unbiased

    def _check_input_dim(self, input: Tensor) -> None:
        if self.training and input.numel() // input.shape[1] < 2:
            count = input.numel() // input.shape[1]
            raise ValueError(f"batch norm: training takes at least 2 values for each channel; got {count}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.unbiased:
            return super().forward(input)
        self._check_input_dim(input)
        with torch.no_grad():
            variance, mean = torch.var_mean(input.transpose(0, 1).flatten(1), dim=1, correction=0)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        # without the statistics, which it would update, and keep for a backward pass that forbids changing them
        return F.batch_norm(input, None, None, self.weight, self.bias, training=True, eps=self.eps)


def batch_norm(layer: BatchNorm, x: Tensor, name: str) -> Tensor:
    """``layer(x)``; what its statistics become in training are taps below ``name``, the layer's attribute.

    Space is one axis meanwhile: with several, torch's backward on CPU misreads a gradient that is channels last and
    has other strides along an axis of size 1 (docs/findings.md, torch-batch-norm-strides).
    """
    y = layer(x.flatten(2)).unflatten(2, x.shape[2:]) if x.dim() > 3 else layer(x)
    if layer.training and probing():
        with scope(name):
            tap("running_mean", layer.running_mean.clone(), "c")
            tap("running_variance", layer.running_var.clone(), "c")
    return y
