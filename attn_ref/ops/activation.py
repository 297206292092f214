"""Activation functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attn_ref.ops.primitive import kink, primitive


@primitive
def relu(x: Any) -> Any:
    """max(x, 0), and 0 for the derivative at 0."""
    kink(lambda: x.real == 0)
    if not np.iscomplexobj(x):
        return np.maximum(x.real, 0.0)  # a tenth of the time of what follows
    return np.where(x.real > 0, x, x.dtype.type(0))


@primitive
def tanh(x: Any) -> Any:
    """The hyperbolic tangent y, and (1 − y²) dx for its derivative."""
    return _tanh(x)


def _tanh(x: Any) -> Any:
    """Of reals one rounding: two alike would cancel by chance."""
    if not np.iscomplexobj(x):
        return np.tanh(x)
    y = squashed(x.real)
    return y + 1j * ((1.0 - y * y) * x.imag)


@primitive
def squashed(x: Any) -> Any:
    """tanh of reals. By itself, since every backward pass has only the rounded y to compute 1 − y² from."""
    return np.tanh(x)


@primitive
def sigmoid(x: Any) -> Any:
    """1 / (1 + e⁻ˣ) = y, and y (1 − y) dx for its derivative."""
    if not np.iscomplexobj(x):
        return _logistic(x)
    y = logistic(x.real)
    return y + 1j * (y * (1.0 - y) * x.imag)


@primitive
def logistic(x: Any) -> Any:
    """1 / (1 + e⁻ˣ) of reals. By itself for the reason that ``squashed`` is."""
    return _logistic(x)


def _logistic(x: Any) -> Any:
    """Never overflowing: 1 / (1 + e⁻ˣ) from 0 up, eˣ / (1 + eˣ) below; the power is at most 1."""
    power = np.exp(-np.abs(x.real))
    return np.maximum(power.real, x.real >= 0) / (1.0 + power)


@primitive
def silu(x: Any) -> Any:
    """x / (1 + e⁻ˣ). Elfwing, Uchibe and Doya 2017, equation 2; "swish" in Ramachandran et al. 2017."""
    return x * sigmoid(x)


@primitive
def hard_sigmoid(x: Any) -> Any:
    """min(max(x + 3, 0), 6) / 6, and 0 for the derivative at ±3. Howard et al. 2019, section 5.2."""
    kink(lambda: np.isin(x.real, (-3.0, 3.0)))
    if not np.iscomplexobj(x):
        return np.minimum(np.maximum(x.real + 3.0, 0.0).real, 6.0) / 6.0
    inside = np.where(x.real < 3, x + 3.0, x.dtype.type(6))
    return np.where(x.real > -3, inside, x.dtype.type(0)) / 6.0


@primitive
def erf(x: Any) -> Any:
    """The error function 2/√π ∫₀ˣ exp(−t²) dt."""
    from scipy.special import erf as real_erf  # here, because importing it takes longer than NumPy itself

    if not np.iscomplexobj(x):
        return real_erf(x).astype(x.dtype, copy=False)  # SciPy makes float64 of float16
    slope = 2.0 / math.sqrt(math.pi) * np.exp(-x.real * x.real)
    return real_erf(x.real) + 1j * (slope * x.imag)


@primitive
def gelu(x: Any) -> Any:
    """x Φ(x), with Φ from the error function: x/2 (1 + erf(x/√2)). Hendrycks and Gimpel 2016."""
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


@primitive
def gelu_gate(z: Any) -> Any:
    """tanh inside ``gelu_tanh``: a primitive of its own, because engines have other ways to it than their tanh."""
    return _tanh(z)


@primitive
def gelu_tanh(x: Any) -> Any:
    """GELU's tanh approximation: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))). Up to 4.7e-4 off ``gelu``."""
    return 0.5 * x * (1.0 + gelu_gate(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


@primitive
def quick_gelu(x: Any) -> Any:
    """x / (1 + exp(−1.702 x)), up to 0.021 off ``gelu``. Hendrycks and Gimpel 2016, section 2."""
    return x * sigmoid(1.702 * x)


#: The activations that a block can name.
ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "quick_gelu": quick_gelu}
#: Those of a gated linear unit.
GATED = {"silu": silu, "gelu": gelu, "gelu_tanh": gelu_tanh, "relu": relu, "sigmoid": sigmoid}
#: Those that give a share of what they multiply, between 0 and 1.
GATES = {"sigmoid": sigmoid, "hard_sigmoid": hard_sigmoid}
