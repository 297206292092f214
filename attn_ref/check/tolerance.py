"""How far a right implementation may be off: derived from the definition, not tuned.

The truth is the reference in float64. σ, per row of a tap's last axis, is the largest change over K runs in which every
input, every weight, every tap and the result of every primitive moves by ± one unit roundoff u of the dtype under test.
An implementation agrees at a tap when, in every row,

    |error| ≤ C · (σ + u · max|y| + the smallest normal number).

σ says what rounding does to this value in this case, cancellation and saturation included; relative to a row's largest
value it is nowhere smaller than at the tap as a whole, since a row of few values may by chance stay put in all K runs.
σ is learnt from as many of the K runs as it takes to settle that (see ``Truth``): most figures are upper bounds.
The second term covers a last rounding; the third values that are all but zero. Where an engine has a known gap in a
primitive, that primitive moves by the unit roundoff that it really has there. docs/tolerance.md derives all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.ops.primitive import Noise, noisy
from attn_ref.tap import Probe, Tapped, apart, is_masked, probe, transpose_to

#: dtype -> (unit roundoff, smallest normal)
ROUNDING = {
    "float64": (2.0**-53, 2.0**-1022),
    "float32": (2.0**-24, 2.0**-126),
    "bfloat16": (2.0**-8, 2.0**-126),
    "float16": (2.0**-11, 2.0**-24),
}
#: dtype -> C
LIMIT = {"float64": 16.0, "float32": 16.0, "bfloat16": 4.0, "float16": 4.0}
RUNS = 8
#: an error up to this share of C needs no more runs: it agrees, and they could only make it smaller
SETTLED = 0.25
#: the name under which what comes out is compared
OUTPUT = "output"


class MovedTaps(Probe):
    """A probe that moves every value at its tap, as a rounding there would; a mask's, which has none, it leaves.

    With ``restart`` it hears each value, and the reference goes on with the one given there.
    """

    def __init__(self, noise: Noise, restart: Mapping[str, Tapped] | None = None, **listening: Any) -> None:
        super().__init__(**listening)
        self.noise, self.restart = noise, restart or {}

    def __call__(self, name: str, value: Any, labels: str) -> Any:
        value = super().__call__(name, value if is_masked(name) else self.noise.move(value), labels)
        given = self.restart.get(next(reversed(self.seen)))
        if given is None:
            return value
        # moved too: what follows from it may cancel
        return self.noise.move(transpose_to(given.value, given.labels, labels).astype(value.dtype))


class Truth:
    """The reference in float64 on values of ``dtype``: every tap, output last, the unit of each row, the primitives.

    σ only grows with the ``runs`` with noise that it is learnt from, and so does the unit. Whoever compares asks for
    as many as it takes (``learn``): with fewer the unit is smaller, and an error in units of it larger, than with all.

    ``units``: primitive -> unit roundoff, where an engine has a known gap. ``replace``: taps that are replaced, as in
    training. ``restart``: an engine's taps; each value of the reference then follows from the engine's before it.
    FloatingPointError when the reference gives a NaN or an infinity, other than −∞ where a mask hides a score, and when
    it does so with noise: a fault of the definition or of the case, never a pass.
    """

    def __init__(
        self,
        block: Block,
        weights: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        dtype: str,
        units: Mapping[str, float] | None = None,
        replace: Mapping[str, Tapped] | None = None,
        restart: Mapping[str, Tapped] | None = None,
        runs: int = RUNS,
    ) -> None:
        self.block, self.weights, self.inputs = block, wide(weights), wide(inputs)
        self.rounding, self.units, self.replace, self.restart = ROUNDING[dtype], units, replace, restart
        still = Still(0.0, 0)
        with noisy(still):
            self.taps = self._seen(still)
        self.primitives, self.runs = frozenset(still.used), 0
        for name, (value, _) in self.taps.items():
            if not np.all(np.isfinite(value) | (is_masked(name) & np.isneginf(value))):
                raise FloatingPointError(f"the reference of {type(block).__name__} is not finite at tap {name!r}")
        self.sigma = {name: np.zeros(np.shape(value)[:-1]) for name, (value, _) in self.taps.items()}
        self.learn(runs)

    def _seen(self, noise: Noise) -> dict[str, Tapped]:
        with probe(MovedTaps(noise, self.restart, replace=self.replace)) as heard:
            output = self.block(moved(noise, self.weights), **moved(noise, self.inputs))
        return {**heard.seen, OUTPUT: Tapped(output, "")}

    def learn(self, runs: int) -> None:
        """Run with noise until there were so many runs."""
        u, tiny = self.rounding
        while self.runs < runs:
            noise = Noise(u, self.runs, self.units, tiny)
            with noisy(noise):
                heard = self._seen(noise)
            for name, (value, _) in heard.items():
                self.sigma[name] = np.maximum(self.sigma[name], _largest(apart(value, self.taps[name].value)))
                if not np.all(np.isfinite(self.sigma[name])):  # whatever is compared with it agrees
                    title = f"the reference of {type(self.block).__name__}, moved by roundings,"
                    raise FloatingPointError(f"{title} is not finite at tap {name!r}")
            self.runs += 1
            vars(self).pop("unit", None)

    @cached_property
    def sizes(self) -> dict[str, np.ndarray]:
        """Tap -> the largest finite magnitude in every row."""
        # none but a mask's values may be infinite
        finite = ((n, np.where(np.isneginf(x), 0.0, x) if is_masked(n) else x) for n, (x, _) in self.taps.items())
        return {name: _largest(value) for name, value in finite}

    @cached_property
    def unit(self) -> dict[str, np.ndarray]:
        """Tap -> σ + u · max|y| + the smallest normal number, of every row, after the runs so far."""
        u, tiny = self.rounding
        unit: dict[str, np.ndarray] = {}
        before = np.zeros(0)
        for name, size in self.sizes.items():
            sigma = self.sigma[name]
            share = size / max(np.max(size, initial=0.0), tiny)  # of the tap's largest value
            unit[name] = np.maximum(sigma, share * np.max(sigma, initial=0.0)) + u * size + tiny
            if is_masked(name) and before.shape == size.shape:  # rounded as what it masks, which is the tap before
                unit[name] = np.maximum(unit[name], before)
            before = unit[name]
        return unit


class Still(Noise):
    """Noise that moves nothing, and learns which primitives there are."""

    def move(self, x: Any, tangent: float = 0.0) -> Any:
        return x


def wide(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every float as float64, exactly."""
    return {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in values.items()}


def moved(noise: Noise, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every float moved by one unit roundoff."""
    return {name: noise.move(value) for name, value in values.items()}


def _largest(value: Any) -> np.ndarray:
    """The largest magnitude in every row of the last axis."""
    return np.maximum.reduce(np.abs(value), axis=-1, initial=0.0) if np.ndim(value) else np.abs(value)


def deviation(got: Tapped, want: Tapped) -> np.ndarray:
    """The largest |got − want| in every row, its axes put in order first; one inf for another shape.

    Equal infinities agree; inf where one of the two is infinite, and for a NaN.
    """
    value = transpose_to(np.asarray(got.value), got.labels if want.labels else "", want.labels)
    if value.shape != np.shape(want.value):
        return np.asarray(np.inf)
    error = _largest(apart(value.astype(np.float64), want.value))
    return np.where(np.isfinite(error), error, np.inf)


def infinities(got: Tapped, want: Tapped) -> str:
    """In words, where one of the two is infinite, or NaN, and the other is not the same; empty if nowhere."""
    value = transpose_to(np.asarray(got.value), got.labels if want.labels else "", want.labels)
    if value.shape != np.shape(want.value):
        return ""
    value = value.astype(np.float64)
    hit = (value != want.value) & ~(np.isfinite(value) & np.isfinite(want.value))
    if not hit.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(hit)[0])
    gave, has = (f"{float(x[at]):.3g}".replace("-", "−").replace("inf", "∞") for x in (value, np.asarray(want.value)))
    return f"{gave} at {at}, where the definition has {has}; such are {hit.sum()} of {hit.size} values"
