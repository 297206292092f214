"""Layer norm for torch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.layer_norm import LayerNorm as Reference
from attn_ref.tap import probing, tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class LayerNorm(Mirror, nn.LayerNorm):
    """Mirror of ``attn_ref.LayerNorm``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        eps: float = 1e-5,
        use_scale: bool = True,
        use_offset: bool = True,
    ) -> None:
        super().__init__(width, eps=eps, bias=use_offset)
        self.block = Reference.from_options(locals())
        if not use_scale:
            self.register_parameter("weight", None)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        if not probing():
            return self.norm(x, self.weight, self.bias)
        y = tap("normed", self.norm(x), "b t c")
        if self.weight is not None:
            y = tap("scaled", y * self.weight, "b t c")
        return y if self.bias is None else tap("shifted", y + self.bias, "b t c")

    def norm(self, x: Tensor, scale: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, scale, offset, self.eps)
