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
        torch=("device=token_ids.device)", "device=token_ids.device).flip(0)"),
        reference=("np.arange(token_ids.shape[1])", "np.arange(token_ids.shape[1])[::-1]"),
        keras=("ops.arange(ops.shape(token_ids)[1])", "ops.flip(ops.arange(ops.shape(token_ids)[1]))"),
    ),
    Fault(
        "positions of real tokens are counted from padding_id",
        "embedded",
        torch=("real.cumsum(dim=1) * real", "(real.cumsum(dim=1) - 1) * real"),
        reference=("real * real.cumsum(axis=1)", "real * (real.cumsum(axis=1) - 1)"),
        keras=("ops.cumsum(real, axis=1) * real", "(ops.cumsum(real, axis=1) - 1) * real"),
    ),
    Fault(
        "padding is counted too",
        "embedded",
        torch=("real.cumsum(dim=1)", "torch.ones_like(real).cumsum(dim=1)"),
        reference=("real.cumsum(axis=1)", "np.ones_like(real).cumsum(axis=1)"),
        keras=("ops.cumsum(real, axis=1)", "ops.cumsum(ops.ones_like(real), axis=1)"),
    ),
    Fault(
        "tokens times the root of the width",
        "embedded",
        torch=("self.token(token_ids)", "self.token(token_ids) * self.block.width**0.5"),
        keras=("self.token(token_ids)", "self.token(token_ids) * self.block.width**0.5"),
    ),
]
