"""Evidence of ``ChannelSelfAttention``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_maps import channel_self_attention as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "the scores transposed",
        "scores",
        torch=("torch.bmm(q, k.transpose(1, 2))", "torch.bmm(k, q.transpose(1, 2))"),
        keras=("ops.matmul(ops.swapaxes(q, 1, 2), k)", "ops.matmul(ops.swapaxes(k, 1, 2), q)"),
    ),
    Fault(
        "the map transposed",
        "context",
        torch=("torch.bmm(weights, v)", "torch.bmm(weights.transpose(1, 2), v)"),
        reference=("ops.matmul(v, weights.swapaxes(1, 2))", "ops.matmul(v, weights)"),
        keras=("ops.matmul(v, ops.swapaxes(weights, 1, 2))", "ops.matmul(v, weights)"),
    ),
    Fault(
        "score − max",
        "inverted",
        torch=("scores.amax(dim=-1, keepdim=True) - scores", "scores - scores.amax(dim=-1, keepdim=True)"),
        keras=("largest - scores", "scores - largest"),
    ),
    Fault(
        "the gate on the shortcut",
        "output",
        torch=("self.gate * context + shortcut", "context + self.gate * shortcut"),
        keras=("y = self.gate * tap", "y = tap"),
    ),
]
