"""Ways to change a block's weights, for faults that another set of weights explains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Weights = dict[str, np.ndarray]
Change = Callable[[Weights], Weights]


def zeroed(*names: str) -> Change:
    """These are zero: a bias that is lost."""
    return lambda w: {**w, **{name: np.zeros_like(w[name]) for name in names}}


def ones(*names: str) -> Change:
    """These are one: a factor that is lost."""
    return lambda w: {**w, **{name: np.ones_like(w[name]) for name in names}}


def instead(**sources: str) -> Change:
    """All of one part are those of another: ``value="key"`` gives ``value.kernel`` what ``key.kernel`` has."""

    def change(w: Weights) -> Weights:
        new = dict(w)
        for part, source in sources.items():
            new.update({f"{part}{name.removeprefix(source)}": w[name] for name in w if name.startswith(f"{source}.")})
        return new

    return change


def by(name: str, function: Callable[[np.ndarray], np.ndarray]) -> Change:
    """One of them is a function of what it was."""
    return lambda w: {**w, name: function(w[name])}


def together(*changes: Change) -> Change:
    """Changes one after the other."""

    def change(w: Weights) -> Weights:
        for one in changes:
            w = one(w)
        return w

    return change


def columns(order: np.ndarray, *names: str) -> Change:
    """The last axis of these comes in another order."""
    return lambda w: {**w, **{name: w[name][..., order] for name in names if name in w}}


def interleaved(heads: int, width: int) -> np.ndarray:
    """The order of features in which head h has h, h + heads, h + 2·heads …"""
    return np.arange(width).reshape(-1, heads).T.ravel()
