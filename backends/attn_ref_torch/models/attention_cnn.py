"""A small convolutional network of attention blocks for torch, which takes images channels first."""

from __future__ import annotations

from torch import Tensor, nn

from attn_ref.models.attention_cnn import AttentionCNN as Reference
from attn_ref.tap import tap
from attn_ref_torch.blocks.cbam_residual import CBAMResidual
from attn_ref_torch.blocks.non_local import NonLocal
from attn_ref_torch.blocks.selective_kernel import SelectiveKernel
from attn_ref_torch.blocks.squeeze_excitation import SqueezeExcitation
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class AttentionCNN(Mirror):
    """Mirror of ``attn_ref.AttentionCNN``, with the same arguments; images are (b, channels, H, W)."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        num_classes: int,
        stride: int = 2,
        branches: int = 2,
        groups: int = 1,
        reduction: int = 4,
        sub_sample: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.stem = CBAMResidual(**self.block.stem_options)
        self.selective_kernel = SelectiveKernel(**self.block.selective_kernel_options)
        self.squeeze_excitation = SqueezeExcitation(channels=width, reduction=reduction)
        self.non_local = NonLocal(**self.block.non_local_options)
        self.head = nn.Linear(width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        check(self, image=image)
        x = self.squeeze_excitation(self.selective_kernel(self.stem(image)))
        x = tap("features", self.non_local(x), "b f P Q")
        pooled = tap("pooled", x.mean(dim=(2, 3)), "b f")
        return tap("logits", self.head(pooled), "b k")
