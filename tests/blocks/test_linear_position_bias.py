"""Evidence of ``LinearPositionBias``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_positions import linear_position_bias as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "slopes as if every number were a power of two",
        "slopes",
        torch=(
            "torch.cat([steps, between]) * (-8 / n)",
            "torch.arange(1, self.num_heads + 1, dtype=wide) * (-8 / self.num_heads)",
        ),
        keras=(
            "return geometric + twice[0::2][: heads - n]",
            "return [2 ** (-8 * (i + 1) / heads) for i in range(heads)]",
        ),
    ),
    Fault(
        "the other half of the slopes between",
        "slopes",
        torch=("device=self.like.device) + 0.5", "device=self.like.device) + 1.0"),
        keras=("twice[0::2]", "twice[1::2]"),
    ),
    Fault(
        "the nearer, the less",
        "bias",
        torch=(
            "offsets = key_positions.long() - query_positions.long()[:, None]",
            "offsets = query_positions.long()[:, None] - key_positions.long()",
        ),
        reference=(
            "key_positions.astype(int) - query_positions.astype(int)[:, None]",
            "query_positions.astype(int)[:, None] - key_positions.astype(int)",
        ),
        keras=(
            "ops.cast(key_positions, wide) - ops.cast(query_positions, wide)[:, None]",
            "ops.cast(query_positions, wide)[:, None] - ops.cast(key_positions, wide)",
        ),
    ),
    Fault(
        "symmetric ignored",
        "bias",
        torch=("if self.symmetric else", "if False else"),
        keras=("if self.symmetric else", "if False else"),
    ),
]
