"""Evidence of ``SpatialAttention``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
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
        "the other convention for the running variance",
        "norm.running_variance",
        torch=("if not self.training or self.unbiased:", "if True:"),
        keras=("if training and self.unbiased:", "if training and not self.unbiased:"),
        module="batch_norm",
        training=True,
    ),
    Fault(
        "momentum is the share of the old value",
        "norm.running_mean",
        torch=("momentum=momentum)", "momentum=1.0 - momentum)"),
        keras=("super().__init__(momentum=1.0 - momentum, **kwargs)", "super().__init__(momentum=momentum, **kwargs)"),
        module="batch_norm",
        training=True,
    ),
    Fault(
        "the running statistics while training",
        "norm.running_mean|accepted",
        torch=('run_norm(self.norm, gate, "norm")', "self.norm.eval()(gate)"),
        keras=('run_norm(self.norm, gate, "norm", training)', "self.norm(gate)"),
        training=True,
    ),
]
