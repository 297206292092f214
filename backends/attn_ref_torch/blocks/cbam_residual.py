"""A residual block with CBAM for torch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.cbam_residual import CBAMResidual as Reference
from attn_ref.tap import tap
from attn_ref_torch.batch_norm import BatchNorm, batch_norm
from attn_ref_torch.blocks.cbam import CBAM
from attn_ref_torch.checks import check
from attn_ref_torch.conv import Conv2d
from attn_ref_torch.mirror import Mirror


class CBAMResidual(Mirror):
    """Mirror of ``attn_ref.CBAMResidual``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        output_channels: int,
        kernel_size: int = 3,
        stride: int = 2,
        reduction: int = 4,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.conv = Conv2d(channels, output_channels, kernel_size, stride=stride, padding=kernel_size // 2)
        self.norm = BatchNorm(output_channels, eps=eps, momentum=momentum, unbiased=unbiased)
        self.attention = CBAM(channels=output_channels, reduction=reduction, kernel_size=kernel_size)
        self.pool = nn.MaxPool2d(3, stride=stride, padding=1)
        self.shortcut = nn.Conv2d(channels, output_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        convolved = tap("convolved", self.conv(x), "b f P Q")
        normed = tap("normed", batch_norm(self.norm, convolved, "norm"), "b f P Q")
        attended = self.attention(tap("active", F.relu(normed), "b f P Q"))
        pooled = tap("pooled", self.pool(x), "b c P Q")
        shortcut = tap("shortcut", self.shortcut(pooled), "b f P Q")
        added = tap("added", attended + shortcut, "b f P Q")
        return tap("rectified", F.relu(added), "b f P Q")
