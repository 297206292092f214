"""torch's convolution, kept from a fault of oneDNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``. With a stride, bfloat16 on CPU goes by way of float32.

    See torch-bfloat16-strided-convolution in docs/findings.md.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.bfloat16 or x.device.type != "cpu" or max(self.stride) == 1:
            return super().forward(x)
        assert not isinstance(self.padding, str)
        bias = None if self.bias is None else self.bias.float()
        wide = F.conv2d(x.float(), self.weight.float(), bias, self.stride, self.padding, self.dilation, self.groups)
        return wide.to(x.dtype)
