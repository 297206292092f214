"""How the worst figures of many cases are spread: counts in bins, a quarter of an octave each, that add up.

>>> spread = {}
>>> for worst in (0.0, 0.3, 0.31, 2.0):
...     count(spread, worst)
>>> spread
{'0': 1, '0.354': 2, '2': 1}
>>> quantile(spread, 0.75)
0.354
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

#: beyond it the end of the bin would be no number
LARGEST = 2.0**1023
#: bins for each factor of two
STEPS = 4
#: the shares that reports give
SHARES = (0.5, 0.9, 0.99, 0.999)


def edge(worst: float) -> str:
    """The upper end of the bin in which ``worst`` lies, which is the name of the bin."""
    if worst == 0 or not worst < LARGEST:
        return "0" if worst == 0 else "inf"
    return f"{2.0 ** (math.ceil(STEPS * math.log2(worst)) / STEPS):.3g}"


def count(spread: dict[str, int], worst: float, times: int = 1) -> None:
    """Enter a case's worst figure."""
    name = edge(worst)
    spread[name] = spread.get(name, 0) + times


def merged(spreads: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """All of them together, from small to large."""
    found: dict[str, int] = {}
    for spread in spreads:
        for name, times in spread.items():
            found[name] = found.get(name, 0) + times
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def quantile(spread: Mapping[str, int], share: float) -> float | None:
    """The upper end of the bin up to which ``share`` of the cases lie; None if there are no cases."""
    total, seen = sum(spread.values()), 0
    for name, times in merged([spread]).items():
        seen += times
        if seen >= share * total:
            return float(name)
    return None


def quantiles(spread: Mapping[str, int]) -> dict[str, float | None]:
    """``quantile`` for every share of ``SHARES``: {"50": …, "90": …}."""
    return {f"{100 * share:g}": quantile(spread, share) for share in SHARES}
