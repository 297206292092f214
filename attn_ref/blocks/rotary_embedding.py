r"""Rotary position embedding: pairs of features turn by an angle that grows with the position, so that the product of a
query and a key depends on how far apart they are, not on where they stand.

.. math:: (a_i, b_i) \mapsto (a_i \cos\theta_i - b_i \sin\theta_i,\; a_i \sin\theta_i + b_i \cos\theta_i),\qquad
          \theta_i = \frac{p}{\text{scaling}}\, \text{base}^{-2i/r},\quad i = 0 \dots r/2 - 1

b batch, h heads, t length, d head width, r rotary width, f pairs (r/2), p the position. The features after the first
r stay as they are.

Differences: the paper, GPT-J and the Llama checkpoints as Meta publishes them turn neighbours, (0, 1), (2, 3) …:
"interleaved". GPT-NeoX and Hugging Face's Llama turn feature i with i + r/2: "half". The two give the same scores once
the features of the query and key projections are permuted, which is what Hugging Face's conversion of Llama does; with
the wrong one a model loads, runs and is wrong. Hugging Face computes angles in float32, also in a float64 model; here
they are float64, their sines and cosines of the dtype of x; in a mirror angles are of the dtype of x, but no less than
float32. ``scaling`` by itself is Hugging Face's rope type "linear" with that factor.

With a ramp only slow pairs are divided by ``scaling``, fast ones are left, and between them the frequency is a mean of
both: f (u + (1 − u) / scaling). u rises from 0 to 1 in proportion to the turns that a pair makes over
``original_length``, from ``slow_turns`` to ``fast_turns`` ("turns", rope type "llama3"), or in proportion to the number
of the pair between the two that make so many turns ("pairs", type "yarn"; "whole_pairs", with those numbers rounded
outwards, as YaRN's own code does). ``attention_factor`` is then YaRN's, of cosine and sine, so its square is on scores.

With ``factors`` each pair has a divisor of its own, so that any frequencies can be given; where a position is
``original_length`` or beyond, ``long_factors`` are in their place for all ("longrope").

With ``base_growth`` = g the base grows where positions reach beyond ``original_length`` = L (rope type "dynamic", NTK):

.. math:: \text{base}' = \text{base} \Bigl(\frac{g n}{L} - (g - 1)\Bigr)^{r/(r - 2)},\qquad n = \max(L,\; 1 + \max p)

n counts over all positions that are given, of the whole batch. The fastest pair stays as it is, and the slowest turns
g n/L − (g − 1) times more slowly. Hugging Face's models keep the grown base in later calls until one is shorter than L,
and turn a key once, with the base of the step in which it came; here a result follows from its inputs alone, and in
``ar.Decoding`` every key turns with the base of the latest step, as without a cache.

Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", section 3.2.2, equation 34;
``scaling``: Chen et al. 2023, "Extending Context Window of Large Language Models via Positional Interpolation"; ramps:
Peng et al. 2023, "YaRN", section 3.2, and Llama Team 2024, "The Llama 3 Herd of Models", by its published code;
divisors: Ding et al. 2024, "LongRoPE", by the code of Phi-3; ``base_growth``: bloc97 and emozilla 2023, by
``_compute_dynamic_ntk_parameters`` in transformers' ``modeling_rope_utils.py``.

>>> import attn_ref as ar, numpy as np
>>> ar.RotaryEmbedding(width=8)({}, np.ones((1, 2, 3, 8))).shape
(1, 2, 3, 8)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Pick, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class RotaryEmbedding(Block):
    """Turns the features of a query or a key, after it was split into heads, by its positions."""

    width: int = option(meaning="width of one head", above=0, witness=6)
    rotary_width: int | None = option(
        default=None, meaning="how many of its features turn, the first ones; None: all", above=0, witness=4
    )
    pairing: str = option(
        default="half", meaning='"half": feature i turns with i + rotary_width/2; "interleaved": 2i with 2i + 1',
        choices=("half", "interleaved"), witness="interleaved", draw=("half", "interleaved"),
    )  # fmt: skip
    base: float = option(
        default=10000.0, meaning="the larger, the slower the last pairs turn", above=0, witness=100.0,
        draw=(10000.0, 10000.0, 500000.0, 100.0),
    )  # fmt: skip
    scaling: float = option(
        default=1.0, meaning="what positions are divided by", above=0, witness=2.5, draw=(1.0, 1.0, 2.5)
    )
    ramp: str | None = option(
        default=None, choices=("turns", "pairs", "whole_pairs"),
        witness={"scaling": 4.0, "ramp": "turns", "original_length": 40},
        meaning='which pairs are divided: None: all; else slow ones, in proportion to "turns", or to the number of the '
        'pair, "pairs" or "whole_pairs"',
    )  # fmt: skip
    original_length: int | None = option(
        default=None, above=0,
        meaning="the length over which turns are counted, from which on long_factors hold, and beyond which the base "
        "grows",
        witness={"scaling": 4.0, "ramp": "turns", "original_length": 80},
    )  # fmt: skip
    slow_turns: float = option(
        default=1.0, meaning="a pair with fewer turns is divided", above=0, needs="ramp",
        witness={"scaling": 4.0, "ramp": "turns", "original_length": 40, "slow_turns": 0.25},
    )  # fmt: skip
    fast_turns: float = option(
        default=32.0, meaning="one with more is not", above=0, needs="ramp",
        witness={"scaling": 4.0, "ramp": "turns", "original_length": 40, "fast_turns": 4.0},
    )  # fmt: skip
    factors: tuple[float, ...] | None = option(
        default=None, meaning="what the frequency of each pair is divided by; None: by nothing", above=0,
        witness=(1.0, 2.0, 3.0, 4.0),
    )  # fmt: skip
    long_factors: tuple[float, ...] | None = option(
        default=None, above=0, needs="factors",
        meaning="the same where a position is original_length or beyond; None: factors hold there too",
        witness={"factors": (1.0,) * 4, "long_factors": (1.0, 2.0, 3.0, 4.0), "original_length": 2},
    )  # fmt: skip
    base_growth: float | None = option(
        default=None, above=0,
        meaning="how fast the base grows with positions beyond original_length; None: it does not",
        witness={"base_growth": 4.0, "original_length": 2},
    )  # fmt: skip
    attention_factor: float = option(
        default=1.0, meaning="what cosine and sine are multiplied by", above=0, witness=1.5, draw=(1.0, 1.0, 1.25)
    )

    role = "rotation"
    inputs = {
        "x": Input("b h t {width}"),
        "positions": Input("b t", kind="index", optional=True, broadcast=True, ranks=(1, 2)),  # left out: 0 … t − 1
    }
    output_axes = "b h t d"
    example = {"width": 8}

    def __post_init__(self) -> None:
        super().__post_init__()
        name = "width" if self.rotary_width is None else "rotary_width"
        self.require(
            self.r % 2 == 0, f"{name} = {self.r} is odd, and features turn in pairs; give an even rotary_width"
        )
        self.require(
            self.ramp is None or self.original_length is not None,
            f"ramp = {self.ramp!r} needs original_length, which is None",
        )
        self.require(
            self.long_factors is None or self.original_length is not None,
            "long_factors needs original_length, which is None",
        )
        self.require(
            self.base_growth is None or self.original_length is not None,
            "base_growth needs original_length, which is None",
        )
        self.require(
            self.original_length is None or (self.ramp, self.long_factors, self.base_growth) != (None, None, None),
            "original_length needs ramp, long_factors or base_growth, which are None",
        )
        self.require(
            self.base_growth is None or (self.ramp is None and self.factors is None),
            "base_growth takes neither ramp nor factors",
        )
        self.require(
            self.base_growth is None or self.r > 2, f"base_growth needs more than one pair; got a width of {self.r}"
        )
        self.require(
            self.ramp is None or self.factors is None, "ramp and factors both say what pairs are divided by; give one"
        )
        self.require(
            self.ramp is None or self.slow_turns < self.fast_turns,
            f"slow_turns = {self.slow_turns} should be less than fast_turns = {self.fast_turns}",
        )
        self.require(
            self.ramp in (None, "turns") or self.base > 1, f"ramp = {self.ramp!r} needs a base above 1; got {self.base}"
        )
        for name in ("factors", "long_factors"):
            own = getattr(self, name)
            self.require(
                own is None or len(own) == self.r // 2,
                f"{name} should have a number for each of {self.r // 2} pairs; got {own}",
            )
        self.require(self.r <= self.width, f"rotary_width = {self.r} is more than width = {self.width}")

    @property
    def r(self) -> int:
        return self.width if self.rotary_width is None else self.rotary_width

    @classmethod
    def sample(cls, pick: Pick) -> RotaryEmbedding:
        turning, rest = pick(2, 4, 6, 16), pick(0, 0, 3, 8)
        ramp = pick(None, None, "turns", "pairs", "whole_pairs")
        own = cls.drawn(pick)
        if ramp:
            own |= {"scaling": pick(4.0, 2.5), "slow_turns": pick(1.0, 0.25), "fast_turns": pick(32.0, 4.0)}
        near = tuple(1.0 + i / 2.0 for i in range(turning // 2))
        factors = None if ramp else pick(None, None, near)
        growth = None if ramp or factors or turning == 2 else pick(None, None, 4.0, 0.5)
        far = pick(None, tuple(2.0 + i for i in range(turning // 2))) if factors else None
        return cls(
            width=turning + rest,
            rotary_width=turning if rest else None,
            ramp=ramp,
            original_length=pick(40, 300) if ramp else pick(3, 300) if far or growth else None,
            factors=factors,
            long_factors=far,
            base_growth=growth,
            **own,
        )

    def forward(self, w: Any, x: Any, positions: Any = None) -> np.ndarray:
        positions = np.arange(x.shape[2]) if positions is None else positions
        positions = np.atleast_2d(positions)
        if self.factors is not None:
            f = ops.quotient(ops.rotary_frequencies(self.r, base=self.base), self.divisors(positions))
            angles = ops.quotient(positions[..., None], self.scaling) * f
        elif self.ramp is None:
            angles = ops.rotary_angles(positions, self.r, base=self.grown(positions), scaling=self.scaling)
        else:
            f = ops.rotary_frequencies(self.r, base=self.base)
            u = self.undivided(f)
            angles = positions[..., None] * (u * f + (1.0 - u) * ops.quotient(f, self.scaling))
        angles = tap("angles", angles, "b t f")
        cos, sin = ops.cos(angles, like=x)[:, None], ops.sin(angles, like=x)[:, None]  # the same for every head
        if self.attention_factor != 1.0:
            cos, sin = self.attention_factor * cos, self.attention_factor * sin

        a, b = ops.split_pairs(x[..., : self.r], self.pairing)
        turned = ops.merge_pairs(a * cos - b * sin, a * sin + b * cos, self.pairing)
        return tap("rotated", np.concatenate([turned, x[..., self.r :]], axis=-1), "b h t d")

    def divisors(self, positions: Any) -> Any:
        """What the frequency of each pair is divided by: one number each, for all positions alike."""
        far = self.long_factors is not None and bool((positions >= self.original_length).any())
        return np.array(self.long_factors if far else self.factors)

    def grown(self, positions: Any) -> Any:
        """The base, for all positions alike."""
        if self.base_growth is None:
            return self.base
        length: Any = self.original_length
        slower = ops.quotient(self.base_growth * ops.reach(positions, length), length) - (self.base_growth - 1.0)
        return self.base * ops.power(slower, self.r / (self.r - 2))

    def undivided(self, frequencies: Any) -> Any:
        """u of every pair, from 0 to 1."""
        assert self.original_length is not None
        if self.ramp == "turns":
            turns = frequencies * (self.original_length / (2.0 * np.pi))
            return self.share((turns - self.slow_turns) / (self.fast_turns - self.slow_turns))
        first, last = self.pair_of(self.fast_turns), self.pair_of(self.slow_turns)
        if self.ramp == "whole_pairs":
            first, last = first // 1, -(-last // 1)  # outwards
        first, last = max(first, 0), min(last, self.r - 1)
        last = last + 0.001 if first == last else last
        return 1.0 - self.share((np.arange(self.r // 2) - first) / (last - first))

    def pair_of(self, turns: float) -> float:
        """The number i of the pair that makes so many turns: original_length · base^(−2i/r) = 2π turns."""
        assert self.original_length is not None
        return self.r * math.log(self.original_length / (2.0 * math.pi * turns)) / (2.0 * math.log(self.base))

    @staticmethod
    def share(x: Any) -> Any:
        """x, but no less than 0 and no more than 1."""
        return 0.5 * ops.bounded(2.0 * x - 1.0, 1.0) + 0.5
