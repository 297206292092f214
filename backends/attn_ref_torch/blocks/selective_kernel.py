"""Selective kernel for torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.selective_kernel import SelectiveKernel as Reference
from attn_ref.tap import tap
from attn_ref_torch.batch_norm import BatchNorm, batch_norm
from attn_ref_torch.checks import check
from attn_ref_torch.conv import Conv2d
from attn_ref_torch.mirror import Mirror


class SelectiveKernel(Mirror):
    """Mirror of ``attn_ref.SelectiveKernel``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        branches: int = 2,
        groups: int = 32,
        reduction: int = 16,
        min_width: int = 32,
        stride: int = 1,
        use_bias: bool = False,
        bottleneck_norm: bool = True,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        width = max(channels // reduction, min_width)
        self.convs = nn.ModuleList(
            Conv2d(channels, channels, 3 + 2 * m, stride=stride, padding=1 + m, groups=groups, bias=use_bias)
            for m in range(branches)
        )
        self.norms = nn.ModuleList(
            BatchNorm(channels, eps=eps, momentum=momentum, unbiased=unbiased) for _ in range(branches)
        )
        self.reduce = nn.Linear(channels, width)
        self.reduce_norm = BatchNorm(width, eps=eps, momentum=momentum, unbiased=unbiased) if bottleneck_norm else None
        self.selects = nn.ModuleList(nn.Linear(width, channels) for _ in range(branches))

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        branches = []
        for m, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            assert isinstance(norm, BatchNorm)
            convolved = tap(f"convolved.{m}", conv(x), "b c P Q")
            normed = tap(f"normed.{m}", batch_norm(norm, convolved, f"norms.{m}"), "b c P Q")
            branches.append(tap(f"features.{m}", F.relu(normed), "b c P Q"))
        features = torch.stack(branches, dim=1)
        fused = tap("fused", features.sum(dim=1), "b c P Q")
        squeezed = tap("squeezed", fused.mean(dim=(2, 3)), "b c")
        reduced = tap("reduced", self.reduce(squeezed), "b d")
        if self.reduce_norm is not None:
            normed = tap("reduced_normed", batch_norm(self.reduce_norm, reduced, "reduce_norm"), "b d")
            reduced = tap("reduced_active", F.relu(normed), "b d")
        scores = tap("scores", torch.stack([select(reduced) for select in self.selects], dim=1), "b m c")
        weights = tap("weights", scores.softmax(dim=1), "b m c")
        return tap("selected", (weights[..., None, None] * features).sum(dim=1), "b c P Q")
