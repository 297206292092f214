"""Rotary position embedding for Keras."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.rotary_embedding import RotaryEmbedding as Reference
from attn_ref.tap import tap
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class RotaryEmbedding(Mirror):
    """Mirror of ``attn_ref.RotaryEmbedding``, with the same arguments. It has no weights."""

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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.rotary_width = width if rotary_width is None else rotary_width
        self.pairing, self.base, self.scaling, self.ramp = pairing, base, scaling, ramp
        self.original_length, self.turns = original_length, (slow_turns, fast_turns)
        self.base_growth = base_growth
        self.attention_factor, self.factors, self.long_factors = attention_factor, factors, long_factors

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, x: Any, positions: Any = None) -> Any:
        self.check(x=x, positions=positions)
        if positions is None:
            positions = ops.arange(ops.shape(x)[2])
        if len(positions.shape) == 1:
            positions = positions[None]
        angles = tap("angles", self.angles(positions, x), "b t f")
        # Keras on JAX gives float32 for float64 here
        cos, sin = (ops.cast(turn, x.dtype)[:, None] for turn in (ops.cos(angles), ops.sin(angles)))
        if self.attention_factor != 1.0:
            cos, sin = cos * self.attention_factor, sin * self.attention_factor

        turning, rest = x[..., : self.rotary_width], x[..., self.rotary_width :]
        if self.pairing == "half":
            a, b = ops.split(turning, 2, axis=-1)
            turned = ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
        else:
            a, b = turning[..., 0::2], turning[..., 1::2]
            turned = ops.stack([a * cos - b * sin, a * sin + b * cos], axis=-1)
            turned = ops.reshape(turned, ops.shape(turning))
        return tap("rotated", ops.concatenate([turned, rest], axis=-1), "b h t d")

    def angles(self, positions: Any, x: Any) -> Any:
        wide = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
        if self.ramp is not None:
            return ops.cast(positions, wide)[..., None] * ops.convert_to_tensor(self.ramped(), dtype=wide)
        turns = ops.cast(positions, wide)[..., None] / self.scaling
        if self.base_growth is not None:
            return turns * self.slowed(positions, wide)
        frequencies = [self.base ** (-i / self.rotary_width) for i in range(0, self.rotary_width, 2)]
        if self.factors is None:
            return turns * ops.convert_to_tensor(frequencies, dtype=wide)
        near = ops.convert_to_tensor(self.divided(frequencies, self.factors), dtype=wide)
        if self.long_factors is None:
            return turns * near
        far = ops.convert_to_tensor(self.divided(frequencies, self.long_factors), dtype=wide)
        return turns * ops.where(ops.any(positions >= self.original_length), far, near)

    def slowed(self, positions: Any, dtype: str) -> Any:
        """The frequencies where positions reach beyond ``original_length``."""
        length, r, growth = self.original_length or 0, self.rotary_width, self.base_growth or 0.0
        longest = ops.cast(ops.max(positions, initial=length - 1), dtype) + 1.0
        slower = longest * growth / length - (growth - 1.0)
        plain = ops.convert_to_tensor([self.base ** (-i / r) for i in range(0, r, 2)], dtype=dtype)
        powers = ops.convert_to_tensor([-i / (r - 2) for i in range(0, r, 2)], dtype=dtype)
        return plain * ops.power(slower, powers)

    @staticmethod
    def divided(frequencies: list[float], factors: tuple[float, ...]) -> list[float]:
        return [f / factor for f, factor in zip(frequencies, factors, strict=True)]

    def ramped(self) -> list[float]:
        """Each pair's frequency: a mean of what it is and of that by the scaling, weighted by the ramp."""
        slow, fast = self.turns
        pairs, length = self.rotary_width // 2, float(self.original_length or 0)
        ends = [math.log(length / (2 * math.pi * n)) / math.log(self.base) * pairs for n in (fast, slow)]
        if self.ramp == "whole_pairs":
            ends = [math.floor(ends[0]), math.ceil(ends[1])]
        low, high = max(ends[0], 0), min(ends[1], self.rotary_width - 1)
        found = []
        for i in range(pairs):
            f = self.base ** (-2 * i / self.rotary_width)
            if self.ramp == "turns":
                weight = 1 - (f * length / (2 * math.pi) - slow) / (fast - slow)
            else:
                weight = (i - low) / (0.001 if high == low else high - low)
            weight = min(max(weight, 0.0), 1.0)
            found.append(f * (1 - weight) + f / self.scaling * weight)
        return found
