"""Root mean square norm for torch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.rms_norm import RMSNorm as Reference
from attn_ref.tap import probing, tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class RMSNorm(Mirror, nn.RMSNorm):
    """Mirror of ``attn_ref.RMSNorm``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        eps: float = 1e-6,
        zero_centered: bool = False,
    ) -> None:
        super().__init__(width, eps=eps)
        self.block = Reference.from_options(locals())
        self.zero_centered = zero_centered
        if zero_centered:
            nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        scale = self.weight + 1 if self.zero_centered else self.weight
        if not probing():
            return self.norm(x, scale)
        normed = tap("normed", self.norm(x), "b t c")
        return tap("scaled", normed * scale, "b t c")

    def norm(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, scale, self.eps)
