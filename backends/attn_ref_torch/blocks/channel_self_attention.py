"""Channel self-attention for torch, channels first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_ref.blocks.channel_self_attention import ChannelSelfAttention as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class ChannelSelfAttention(Mirror):
    """Mirror of ``attn_ref.ChannelSelfAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        inner_width: int | None = None,
        project_inputs: bool = True,
        project_shortcut: bool = True,
        invert: bool = False,
        use_bias: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.invert = invert

        def project(wanted: bool) -> nn.Module:
            return nn.Conv2d(channels, inner_width or channels, 1, bias=use_bias) if wanted else nn.Identity()

        self.gate = nn.Parameter(torch.zeros(1))
        self.query, self.key, self.value = (project(project_inputs) for _ in range(3))
        self.shortcut = project(project_shortcut)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        q = tap("query", self.query(x).flatten(2), "b c n")
        k = tap("key", self.key(x).flatten(2), "b k n")
        v = tap("value", self.value(x).flatten(2), "b k n")
        scores = tap("scores", torch.bmm(q, k.transpose(1, 2)), "b c k")
        if self.invert:
            scores = tap("inverted", scores.amax(dim=-1, keepdim=True) - scores, "b c k")
        weights = tap("weights", scores.softmax(dim=-1), "b c k")
        context = tap("context", torch.bmm(weights, v).unflatten(2, x.shape[2:]), "b c H W")
        shortcut = self.shortcut(x)
        if isinstance(self.shortcut, nn.Conv2d):
            shortcut = tap("shortcut", shortcut, "b c H W")
        return self.gate * context + shortcut
