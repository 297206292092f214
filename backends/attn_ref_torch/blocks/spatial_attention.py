"""Spatial attention of CBAM for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_ref.blocks.spatial_attention import SpatialAttention as Reference
from attn_ref.tap import tap
from attn_ref_torch.batch_norm import BatchNorm
from attn_ref_torch.batch_norm import batch_norm as run_norm
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class SpatialAttention(Mirror):
    """Mirror of ``attn_ref.SpatialAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        kernel_size: int = 7,
        batch_norm: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = BatchNorm(1, eps=eps, momentum=momentum, unbiased=unbiased) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        pooled = tap("pooled", pooled, "b p H W")
        gate = tap("convolved", self.conv(pooled), "b u H W")
        if self.norm is not None:
            gate = tap("normed", run_norm(self.norm, gate, "norm"), "b u H W")
        gate = tap("gate", gate.sigmoid(), "b u H W")
        return tap("scaled", x * gate, "b c H W")
