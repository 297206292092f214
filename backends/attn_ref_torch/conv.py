"""torch's convolutions, kept from a fault of oneDNN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def narrow(layer: nn.Conv1d | nn.Conv2d, x: Tensor) -> bool:
    """Does the fault show here? See torch-bfloat16-strided-convolution in docs/findings.md."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and max(layer.stride) > 1


def widened(layer: nn.Conv1d | nn.Conv2d, convolve: Any, x: Tensor) -> Tensor:
    """The convolution by way of float32."""
    bias = None if layer.bias is None else layer.bias.float()
    how = (layer.stride, layer.padding, layer.dilation, layer.groups)
    wide: Tensor = convolve(x.float(), layer.weight.float(), bias, *how)
    return wide.to(x.dtype)


class Conv1d(nn.Conv1d):
    """``nn.Conv1d``. With a stride, bfloat16 on CPU goes by way of float32."""

    def forward(self, x: Tensor) -> Tensor:
        return widened(self, F.conv1d, x) if narrow(self, x) else super().forward(x)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``. With a stride, bfloat16 on CPU goes by way of float32."""

    def forward(self, x: Tensor) -> Tensor:
        return widened(self, F.conv2d, x) if narrow(self, x) else super().forward(x)
