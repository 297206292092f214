"""Evidence of ``ChannelAttention``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_conv import channel_attention as oracle

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16

FAULTS = [
    Fault(
        "a layer that is not shared: the maximum's has no bias",
        "maximum.expanded",
        torch=("self.expand(active)", 'active @ self.expand.weight.T if name == "maximum" else self.expand(active)'),
        keras=(
            "self.expand(active)",
            'ops.matmul(active, self.expand.kernel) if name == "maximum" else self.expand(active)',
        ),
    ),
    Fault(
        "the maximum of magnitudes",
        "maximum.pooled",
        torch=("x.amax(dim=(2, 3))", "x.abs().amax(dim=(2, 3))"),
        keras=("largest(x, ", "largest(ops.abs(x), "),
    ),
    Fault(
        "gates multiplied instead of sums gated",
        "gate",
        torch=("(average + maximum).sigmoid()", "average.sigmoid() * maximum.sigmoid()"),
        reference=("ops.sigmoid(average + maximum)", "ops.sigmoid(average) * ops.sigmoid(maximum)"),
        keras=("ops.sigmoid(average + maximum)", "ops.sigmoid(average) * ops.sigmoid(maximum)"),
    ),
]
