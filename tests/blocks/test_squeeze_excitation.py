"""Evidence of ``SqueezeExcitation``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_conv import squeeze_excitation as oracle

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16

FAULTS = [
    Fault(
        "the maximum instead of the mean",
        "squeezed",
        torch=("x.mean(dim=(2, 3))", "x.amax(dim=(2, 3))"),
        keras=("mean_over_space(x)", "ops.max(x, axis=(1, 2), initial=-1e9)"),
    ),
    Fault(
        "no ReLU in the bottleneck",
        "active",
        torch=("F.relu(reduced)", "reduced"),
        reference=("ops.relu(reduced)", "reduced"),
        keras=("ops.relu(reduced)", "reduced"),
    ),
    Fault(
        "the hard sigmoid of Keras 2",
        "gate",
        torch=("F.relu6(expanded + 3) / 6", "(0.2 * expanded + 0.5).clamp(0, 1)"),
        keras=("ops.hard_sigmoid(expanded)", "ops.clip(0.2 * expanded + 0.5, 0, 1)"),
    ),
    Fault(
        "the gate added",
        "excited",
        torch=('x * tap("gate"', 'x + tap("gate"'),
        keras=('x * tap("gate"', 'x + tap("gate"'),
    ),
]
