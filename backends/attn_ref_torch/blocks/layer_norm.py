"""Layer norm for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.layer_norm import LayerNorm as Reference
from attn_ref.tap import probing, tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class LayerNorm(Mirror):
    """Mirror of ``attn_ref.LayerNorm``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        eps: float = 1e-5,
        use_scale: bool = True,
        use_offset: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.scale = nn.Parameter(torch.ones(width)) if use_scale else None
        self.offset = nn.Parameter(torch.zeros(width)) if use_offset else None
        self.width, self.eps = width, eps

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        if not probing():
            return self.norm(x, self.scale, self.offset)
        y = tap("normed", self.norm(x), "b t c")
        if self.scale is not None:
            y = tap("scaled", y * self.scale, "b t c")
        return y if self.offset is None else tap("shifted", y + self.offset, "b t c")

    def norm(self, x: Tensor, scale: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
        return F.layer_norm(x, (self.width,), scale, offset, self.eps)
