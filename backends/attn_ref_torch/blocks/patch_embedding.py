"""Patch embedding for torch, which takes images channels first."""

from __future__ import annotations

from torch import Tensor

from attn_ref.blocks.patch_embedding import PatchEmbedding as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.conv import Conv2d
from attn_ref_torch.mirror import Mirror


class PatchEmbedding(Mirror):
    """Mirror of ``attn_ref.PatchEmbedding``, with the same arguments; images are (b, channels, H, W)."""

    def __init__(
        self,
        *,
        patch: int,
        channels: int,
        width: int,
        use_bias: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.project = Conv2d(channels, width, kernel_size=patch, stride=patch, bias=use_bias)

    def forward(self, image: Tensor) -> Tensor:
        check(self, image=image)
        projected = tap("projected", self.project(image), "b c H W")
        return tap("tokens", projected.flatten(2).transpose(1, 2), "b t c")
