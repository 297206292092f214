"""Root mean square norm for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.rms_norm import RMSNorm as Reference
from attn_ref.tap import probing, tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class RMSNorm(Mirror):
    """Mirror of ``attn_ref.RMSNorm``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        eps: float = 1e-6,
        zero_centered: bool = False,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.scale = nn.Parameter(torch.zeros(width) if zero_centered else torch.ones(width))
        self.width, self.eps, self.zero_centered = width, eps, zero_centered

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        scale = self.scale + 1 if self.zero_centered else self.scale
        if not probing():
            return self.norm(x, scale)
        normed = tap("normed", self.norm(x), "b t c")
        return tap("scaled", normed * scale, "b t c")

    def norm(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return F.rms_norm(x, (self.width,), scale, self.eps)
