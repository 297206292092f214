"""Channel attention of CBAM for torch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.channel_attention import ChannelAttention as Reference
from attn_ref.tap import scope, tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class ChannelAttention(Mirror):
    """Mirror of ``attn_ref.ChannelAttention``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        reduction: int = 16,
        reduced_width: int | None = None,
        use_bias: bool = False,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        width = reduced_width or channels // reduction
        self.reduce = nn.Linear(channels, width, bias=use_bias)
        self.expand = nn.Linear(width, channels, bias=use_bias)

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        average = self.shared("average", x.mean(dim=(2, 3)))
        maximum = self.shared("maximum", x.amax(dim=(2, 3)))
        gate = tap("gate", (average + maximum).sigmoid(), "b c")
        return tap("scaled", x * gate[:, :, None, None], "b c H W")

    def shared(self, name: str, pooled: Tensor) -> Tensor:
        with scope(name):
            pooled = tap("pooled", pooled, "b c")
            reduced = tap("reduced", self.reduce(pooled), "b r")
            active = tap("active", F.relu(reduced), "b r")
            return tap("expanded", self.expand(active), "b c")
