"""Numbers as reports show them: short for people, and such that JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def short(number: float) -> str:
    """Three significant digits.

    >>> [short(x) for x in (0.0, 1.5742, 16.0, 4.8e136, 2.1e-15, float("inf"), float("-inf"), float("nan"))]
    ['0', '1.57', '16', '4.8e136', '2.1e-15', '∞', '−∞', 'NaN']
    """
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    digits, _, exponent = f"{number:.3g}".partition("e")
    return f"{digits}e{int(exponent)}" if exponent else digits


def strict(data: Any) -> Any:
    """Plain data without infinities and NaN, which JSON has not: they become the strings below.

    A string rather than null: ``float("Infinity")`` reads it again, and jq and most languages do not take it for small.

    >>> strict({"worst": float("inf"), "taps": [float("nan"), -float("inf"), 1.0]})
    {'worst': 'Infinity', 'taps': ['NaN', '-Infinity', 1.0]}
    """
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    if isinstance(data, Mapping):
        return {name: strict(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [strict(value) for value in data]
    return data
