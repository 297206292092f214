"""Evidence of ``RotaryEmbedding``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_positions import rotary_embedding as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "the other pairing",
        "rotated",
        torch=('if self.pairing == "half":', 'if self.pairing != "half":'),
        keras=('if self.pairing == "half":', 'if self.pairing != "half":'),
    ),
    Fault(
        "base 1000",
        "angles",
        torch=("= base**-exponents", "= 1000.0**-exponents"),
        keras=("[self.base ** (-i / self", "[1000.0 ** (-i / self"),
    ),
    Fault(
        "positions from 1",
        "angles",
        torch=("torch.arange(x.shape[2], device", "torch.arange(1, x.shape[2] + 1, device"),
        keras=("ops.arange(ops.shape(x)[2])", "ops.arange(1, ops.shape(x)[2] + 1)"),
    ),
    Fault(
        "positions ignored",
        "angles",
        torch=("if positions is None:", "if True:"),
        keras=("if positions is None:", "if True:"),
    ),
    Fault(
        "rotary_width ignored",
        "angles|raised",
        torch=("width if rotary_width is None else rotary_width", "width"),
        keras=("width if rotary_width is None else rotary_width", "width"),
    ),
    Fault(
        "frequencies of the whole width",
        "angles",
        torch=("device=x.device) / self.rotary_width", "device=x.device) / self.block.width"),
        keras=("(-i / self.rotary_width)", "(-i / self.block.width)"),
    ),
    Fault(
        "scaling ignored",
        "angles",
        torch=(".to(wide) / self.scaling", ".to(wide)"),
        keras=("[..., None] / self.scaling", "[..., None]"),
    ),
    Fault(
        "long factors not taken",
        "angles",
        torch=("(positions >= self.original_length).any()", "(positions < 0).any()"),
        reference=("(positions >= self.original_length).any()", "(positions < 0).any()"),
        keras=("ops.any(positions >= self.original_length)", "ops.any(positions < 0)"),
    ),
    Fault(
        "the base grows with the largest position, not with the count",
        "angles",
        torch=("flatten() - (self.original_length - 1)", "flatten() - self.original_length"),
        reference=("ops.reach(positions, length)", "ops.reach(positions - 1, length)"),
        keras=("initial=length - 1), dtype) + 1.0", "initial=length), dtype)"),
    ),
    Fault(
        "the base grows by the whole width's power",
        "angles",
        torch=("(self.rotary_width / (self.rotary_width - 2))", "1"),
        reference=("self.r / (self.r - 2)", "1.0"),
        keras=("-i / (r - 2)", "-i / r"),
    ),
    Fault(
        "the base shrinks below original_length",
        "angles",
        torch=("positions.new_zeros(1)", "positions.flatten()[:1] - self.original_length + 1"),
        keras=("initial=length - 1)", "initial=0)"),
    ),
    Fault(
        "the ramp upside down",
        "angles",
        torch=("min(1, max(0, u)) for u in kept", "1 - min(1, max(0, u)) for u in kept"),
        reference=("u * f + (1.0 - u) * ops.quotient", "(1.0 - u) * f + u * ops.quotient"),
        keras=("f * (1 - weight) + f / self.scaling * weight", "f * weight + f / self.scaling * (1 - weight)"),
    ),
    Fault(
        "the ramp's ends are not rounded",
        "angles",
        torch=("math.floor(first), math.ceil(last)", "first, last"),
        reference=("first // 1, -(-last // 1)", "first, last"),
        keras=("[math.floor(ends[0]), math.ceil(ends[1])]", "ends"),
    ),
    Fault(
        "the attention factor of the sine alone",
        "rotated",
        torch=("cos * self.attention_factor, sin", "cos, sin"),
        reference=("self.attention_factor * cos, self", "cos, self"),
        keras=("cos * self.attention_factor, sin", "cos, sin"),
    ),
    Fault(
        "turned the other way, halves",
        "rotated",
        torch=("torch.cat([a * cos - b * sin, a * sin + b * cos]", "torch.cat([a * cos + b * sin, b * cos - a * sin]"),
        keras=(
            "ops.concatenate([a * cos - b * sin, a * sin + b * cos]",
            "ops.concatenate([a * cos + b * sin, b * cos - a * sin]",
        ),
    ),
    Fault(
        "turned the other way, neighbours",
        "rotated",
        torch=("stack([a * cos - b * sin, a * sin + b * cos]", "stack([a * cos + b * sin, b * cos - a * sin]"),
        keras=("stack([a * cos - b * sin, a * sin + b * cos]", "stack([a * cos + b * sin, b * cos - a * sin]"),
    ),
    Fault(
        "the rest dropped to zero",
        "rotated",
        torch=("[turned, rest]", "[turned, 0 * rest]"),
        keras=("[turned, rest]", "[turned, 0 * rest]"),
    ),
]
