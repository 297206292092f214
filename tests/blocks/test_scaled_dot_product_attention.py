"""Evidence of ``ScaledDotProductAttention``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles import scaled_dot_product_attention as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "a window's left bound is exclusive",
        "masked",
        torch=("ahead >= -self.window_left", "ahead > -self.window_left"),
        keras=("ahead >= -self.window_left", "ahead > -self.window_left"),
    ),
    Fault(
        "a window has its left bound on both sides",
        "masked",
        torch=("ahead <= self.window_right", "ahead <= (self.window_left or 0)"),
        keras=("ahead <= self.window_right", "ahead <= (self.window_left or 0)"),
    ),
    Fault(
        "scores capped without the division",
        "capped",
        torch=("torch.tanh(scores / self.softcap)", "torch.tanh(scores)"),
        reference=("ops.tanh(scores / self.softcap)", "ops.tanh(scores)"),
        keras=("ops.tanh(scores / self.softcap)", "ops.tanh(scores)"),
    ),
    Fault(
        "sinks take no weight",
        "weights",
        torch=(".softmax(dim=-1)[..., :-1]", "[..., :-1].softmax(dim=-1).nan_to_num(0.0)"),
        keras=(
            "ops.softmax(ops.concatenate([scores, column], axis=-1), axis=-1)[..., :-1]",
            "ops.nan_to_num(ops.softmax(scores, axis=-1))",
        ),
    ),
    Fault(
        "one key more than there are",
        "masked",
        torch=("at < key_lengths", "at <= key_lengths"),
        keras=("at < key_lengths", "at <= key_lengths"),
    ),
    Fault(
        "query offset ignored",
        "masked",
        torch=("else positions + query_offset[:, None]", "else positions"),
        keras=("else positions + query_offset[:, None]", "else positions"),
    ),
    Fault(
        "aligned with the padded length",
        "masked",
        torch=("(s if key_lengths is None else key_lengths[:, None])", "s"),
        keras=("(s if key_lengths is None else key_lengths[:, None])", "s"),
    ),
    Fault(
        "the smallest number in place of −∞",
        "masked",
        torch=("masked_fill(~keep, -torch.inf)", "masked_fill(~keep, torch.finfo(scores.dtype).min)"),
        keras=("ops.where(keep, scores, -math.inf)", "ops.where(keep, scores, -1.7976931348623157e308)"),
    ),
    Fault(
        "+∞ in place of −∞",
        "masked",
        torch=("masked_fill(~keep, -torch.inf)", "masked_fill(~keep, torch.inf)"),
        keras=("ops.where(keep, scores, -math.inf)", "ops.where(keep, scores, math.inf)"),
    ),
    Fault(
        "every mask inverted",
        "masked",
        torch=("masked_fill(~keep, -torch.inf)", "masked_fill(keep, -torch.inf)"),
        keras=("ops.where(keep, scores, -math.inf)", "ops.where(keep, -math.inf, scores)"),
    ),
    Fault(
        "a window's right bound is one key short",
        "masked",
        torch=("ahead <= self.window_right", "ahead < self.window_right"),
        keras=("ahead <= self.window_right", "ahead < self.window_right"),
    ),
]
