"""Evidence of ``RelativePositionBias``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_positions import relative_position_bias as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "one direction only",
        "bias",
        torch=("if not self.bidirectional:", "if True:"),
        keras=("if not self.bidirectional:", "if True:"),
    ),
    Fault(
        "before and after exchanged",
        "bias",
        torch=("offsets > 0", "offsets < 0"),
        reference=("            offsets,\n", "            -offsets if self.bidirectional else offsets,\n"),
        keras=("offsets > 0", "offsets < 0"),
    ),
    Fault(
        "max_distance ignored",
        "bias",
        torch=("(i, self.side, max_distance)", "(i, self.side, 128)"),
        keras=("bucket_starts(self.side, max_distance)", "bucket_starts(self.side, 128)"),
    ),
    Fault(
        "borders belong to the bucket before",
        "bias",
        torch=("(offsets.abs(), self.starts, right=True)", "(offsets.abs(), self.starts, right=False)"),
        keras=("ops.digitize(ops.abs(offsets), self.starts)", "ops.digitize(ops.abs(offsets) - 1, self.starts)"),
    ),
    Fault(
        "borders by a rounded logarithm",
        "bias",
        torch=(
            "next(n for n in count(near) if n**far * near**m >= max_distance**m * near**far)",
            "int(near * (max_distance / near) ** (m / far)) + 1",
        ),
        keras=(
            "while Fraction(distance, near) ** (side - near) < Fraction(max_distance, near) ** m:",
            "while distance <= near * (max_distance / near) ** (m / (side - near)):",
        ),
    ),
]
