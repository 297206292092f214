"""Rotary position embedding for torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attn_ref.blocks.rotary_embedding import RotaryEmbedding as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class RotaryEmbedding(Mirror):
    """Mirror of ``attn_ref.RotaryEmbedding``, with the same arguments. It holds no tensors."""

    def __init__(
        self,
        *,
        width: int,
        rotary_width: int | None = None,
        pairing: str = "half",
        base: float = 10000.0,
        scaling: float = 1.0,
        ramp: str | None = None,
        original_length: int | None = None,
        slow_turns: float = 1.0,
        fast_turns: float = 32.0,
        factors: tuple[float, ...] | None = None,
        long_factors: tuple[float, ...] | None = None,
        base_growth: float | None = None,
        attention_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.rotary_width = width if rotary_width is None else rotary_width
        self.pairing, self.base, self.scaling, self.ramp = pairing, base, scaling, ramp
        self.original_length, self.turns = original_length, (slow_turns, fast_turns)
        self.base_growth = base_growth
        self.attention_factor, self.factors, self.long_factors = attention_factor, factors, long_factors

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        check(self, x=x, positions=positions)
        if positions is None:
            positions = torch.arange(x.shape[2], device=x.device)
        angles = tap("angles", self.angles(torch.atleast_2d(positions), x), "b t f")
        cos, sin = angles.cos().to(x.dtype)[:, None], angles.sin().to(x.dtype)[:, None]
        if self.attention_factor != 1.0:
            cos, sin = cos * self.attention_factor, sin * self.attention_factor

        turning, rest = x[..., : self.rotary_width], x[..., self.rotary_width :]
        if self.pairing == "half":
            a, b = turning.chunk(2, dim=-1)
            turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
        else:
            a, b = turning[..., 0::2], turning[..., 1::2]
            turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
        return tap("rotated", torch.cat([turned, rest], dim=-1), "b h t d")

    def angles(self, positions: Tensor, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)  # in a narrower dtype far positions would be one
        if self.ramp is not None:
            frequencies = torch.tensor(self.ramped(), dtype=wide, device=x.device)
            return positions[..., None].to(wide) * frequencies
        exponents = torch.arange(0, self.rotary_width, 2, dtype=wide, device=x.device) / self.rotary_width
        base = self.base if self.base_growth is None else self.grown(positions, wide)
        frequencies = base**-exponents
        if self.factors is not None:
            frequencies = frequencies / self.divisors(positions, frequencies)
        return positions[..., None].to(wide) / self.scaling * frequencies

    def grown(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """The base where positions reach beyond ``original_length``."""
        assert self.base_growth is not None
        assert self.original_length is not None
        beyond = torch.cat([positions.flatten() - (self.original_length - 1), positions.new_zeros(1)]).amax().to(dtype)
        slower = 1 + beyond * (self.base_growth / self.original_length)
        return self.base * slower ** (self.rotary_width / (self.rotary_width - 2))

    def divisors(self, positions: Tensor, like: Tensor) -> Tensor:
        near = like.new_tensor(self.factors)
        if self.long_factors is None or self.original_length is None:
            return near
        return torch.where((positions >= self.original_length).any(), like.new_tensor(self.long_factors), near)

    def ramped(self) -> list[float]:
        """Each pair's frequency, divided by the scaling as far as the ramp says."""
        count, (slow, fast) = self.rotary_width // 2, self.turns
        length = self.original_length or 0
        plain = [self.base ** (-i / count) for i in range(count)]
        if self.ramp == "turns":
            kept = [(length * f / (2 * math.pi) - slow) / (fast - slow) for f in plain]
        else:
            first, last = (count * math.log(length / (2 * math.pi * n), self.base) for n in (fast, slow))
            if self.ramp == "whole_pairs":
                first, last = math.floor(first), math.ceil(last)
            first, last = max(0, first), min(2 * count - 1, last)
            kept = [1 - (i - first) / (last - first or 0.001) for i in range(count)]
        kept = [min(1, max(0, u)) for u in kept]
        return [f / self.scaling + u * (f - f / self.scaling) for f, u in zip(plain, kept, strict=True)]
