"""T5's relative position bias for torch."""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor, nn

from attn_ref.blocks.relative_position_bias import RelativePositionBias as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class RelativePositionBias(Mirror):
    """Mirror of ``attn_ref.RelativePositionBias``, with the same arguments."""

    starts: Tensor

    def __init__(
        self,
        *,
        num_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.bidirectional = bidirectional
        self.side = num_buckets // 2 if bidirectional else num_buckets
        self.table = nn.Embedding(num_buckets, num_heads)
        starts = torch.tensor([bucket_start(i, self.side, max_distance) for i in range(1, self.side)])
        self.register_buffer("starts", starts, persistent=False)

    def forward(self, query_positions: Tensor, key_positions: Tensor | None = None) -> Tensor:
        check(self, query_positions=query_positions, key_positions=key_positions)
        key_positions = query_positions if key_positions is None else key_positions
        buckets = self.buckets(key_positions.long() - query_positions.long()[:, None])
        return tap("bias", self.table(buckets).permute(2, 0, 1), "h t s")

    def buckets(self, offsets: Tensor) -> Tensor:
        if not self.bidirectional:
            return torch.bucketize((-offsets).clamp(min=0), self.starts, right=True)
        return torch.bucketize(offsets.abs(), self.starts, right=True) + self.side * (offsets > 0)


def bucket_start(i: int, side: int, max_distance: int) -> int:
    """The smallest distance in bucket ``i`` of a side. In whole numbers: a logarithm that is rounded may miss it."""
    near = side // 2
    far, m = side - near, i - near
    return i if m <= 0 else next(n for n in count(near) if n**far * near**m >= max_distance**m * near**far)
