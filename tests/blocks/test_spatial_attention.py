"""Evidence of ``SpatialAttention``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault, norm_faults
from oracles_conv import spatial_attention as oracle

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16

FAULTS = [
    Fault(
        "the maximum first",
        "pooled",
        torch=(
            "[x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)]",
            "[x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)]",
        ),
        keras=("[mean, largest(x, axis=-1, keepdims=True)]", "[largest(x, axis=-1, keepdims=True), mean]"),
    ),
    Fault(
        "the kernel flipped",
        "convolved",
        torch=("self.conv(pooled)", "self.conv(pooled.flip(2, 3)).flip(2, 3)"),
        reference=('w["conv.kernel"]', 'w["conv.kernel"][::-1, ::-1]'),
        keras=("self.conv(pooled)", "ops.flip(self.conv(ops.flip(pooled, (1, 2))), (1, 2))"),
    ),
    Fault(
        "no sigmoid",
        "gate",
        torch=("gate.sigmoid()", "gate"),
        keras=("ops.sigmoid(gate)", "gate"),
    ),
    Fault(
        "the running statistics while training",
        "norm.running_mean|accepted",
        torch=('run_norm(self.norm, gate, "norm")', "self.norm.eval()(gate)"),
        keras=('run_norm(self.norm, gate, "norm", training)', "self.norm(gate)"),
        training=True,
    ),
    *norm_faults("norm"),
]
