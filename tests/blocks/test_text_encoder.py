"""Evidence of ``TextEncoder``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles import text_encoder as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "mean over padding too",
        "mean",
        torch=("real.sum(dim=1).clamp(min=1)", "x.shape[1]"),
        keras=("ops.maximum(ops.sum(real, axis=1), 1.0)[:, None]", "x.shape[1]"),
    ),
    Fault(
        "positions counted from the end",
        "embedded",
        torch=("self.position(positions)", "self.position(positions.flip(0))"),
        reference=('w["position.embedding"][:t]', 'w["position.embedding"][:t][::-1]'),
        keras=("self.position(positions)", "self.position(ops.flip(positions))"),
    ),
    Fault(
        "tokens times the root of the width",
        "embedded",
        torch=("self.token(token_ids)", "self.token(token_ids) * self.block.width**0.5"),
        keras=("self.token(token_ids)", "self.token(token_ids) * self.block.width**0.5"),
    ),
]
