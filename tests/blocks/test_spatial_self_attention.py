"""Evidence of ``SpatialSelfAttention``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_maps import spatial_self_attention as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "softmax over the queries",
        "weights",
        torch=("scores.softmax(dim=-1)", "scores.softmax(dim=-2)"),
        keras=("ops.softmax(scores, axis=-1)", "ops.softmax(scores, axis=-2)"),
    ),
    Fault(
        "the value not sub-sampled with the key",
        "value",
        torch=("self.pool(self.value(x))", "self.pool(self.value(x).flip(2))"),
        keras=("self.pool(self.value(x))", "self.pool(ops.flip(self.value(x), 1))"),
    ),
    Fault(
        "means instead of the largest",
        "key",
        torch=("nn.MaxPool2d(2)", "nn.AvgPool2d(2)"),
        keras=(
            'ops.max_pool(x, 2, 2, data_format="channels_last")',
            'ops.average_pool(x, 2, 2, data_format="channels_last")',
        ),
    ),
    Fault(
        "the gate dropped",
        "output",
        torch=("return self.gate * y + x", "return y + x"),
        keras=("return self.gate * y + x", "return y + x"),
    ),
    Fault(
        "the gate on the shortcut",
        "output",
        torch=("return self.gate * y + x", "return y + self.gate * x"),
        reference=('return w["gate"] * y + x', 'return y + w["gate"] * x'),
        keras=("return self.gate * y + x", "return y + self.gate * x"),
    ),
    Fault(
        "scaled in the fused call",
        "output (taps off, so in the fused path only)",
        torch=("q, k, v, scale=1.0", "q, k, v"),
        keras=(
            'weights = tap("weights", ops.softmax(scores, axis=-1), "b t s")',
            (
                "from attn_ref.tap import probing\n"
                "        scores = scores if probing() else scores * q.shape[-1] ** -0.5 * 0.5\n"
                '        weights = tap("weights", ops.softmax(scores, axis=-1), "b t s")'
            ),
        ),
    ),
]
