"""Weights that were read off values, as what they are of the layer's own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import numpy as np

from attn_ref.trace.match import same
from attn_ref.trace.record import Record
from attn_ref.trace.search import Attempt

#: how numbers of a parameter are told that are no part of it as it lies
SHUFFLED = "in another order"


def snapped(
    weights: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], bool]:
    """Weights that were read off values, to the layer's own numbers that they are; and are they all?"""
    own = np.unique(np.concatenate([np.zeros(1), *(x.ravel() for x in parameters.values())]))
    found, exact = {}, True
    for name, value in weights.items():
        top = max(float(np.max(np.abs(value), initial=0.0)), 1e-300)
        at = np.clip(np.searchsorted(own, value), 1, max(len(own) - 1, 1))
        low, high = own[at - 1], own[np.minimum(at, len(own) - 1)]
        nearest = np.where(np.abs(value - low) <= np.abs(value - high), low, high)
        if np.max(np.abs(nearest - value), initial=0.0) <= 1e-9 * max(top, 1.0):
            found[name] = nearest
        else:
            found[name], exact = value, False
    return found, exact


def wiring(best: Attempt, weights: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Parameter of the block -> the layer's of which it is, in words."""
    told: dict[str, str] = {}
    for name in best.weights:
        fresh = {n: x for n, x in parameters.items() if not any(said.startswith(n) for said in told.values())}
        # parameters that start alike, as norms do, are told apart by their order
        told[name] = source(weights[name], {**fresh, **parameters}, best.read.get(name))
    return told


def source(value: np.ndarray, parameters: Mapping[str, np.ndarray], read: Record | None) -> str:
    """Which parameter, or rows or columns of one, a weight is."""
    if not np.any(value):
        return "zeros"
    for name, x in parameters.items():
        if x.size != value.size:
            continue
        for said, y in ((name, x), (f"{name}.T", x.T)):
            if y.squeeze().shape == value.squeeze().shape and same(y.squeeze(), value.squeeze()):
                return said
        if same(x.reshape(value.shape), value):
            return f"{name}.reshape{value.shape}"
        for order in permutations(range(x.ndim)) if x.ndim == value.ndim else ():
            if x.transpose(order).shape == value.shape and same(x.transpose(order), value):
                return f"{name}.transpose{order}"
    for name, x in parameters.items():
        if x.ndim > 2 and set(x.shape[2:]) == {1}:  # of a convolution of size 1
            name, x = f"{name}.flatten(1)", x.reshape(len(x), -1)
        rows = value.T if value.ndim == 2 else value
        for part in range(len(x) // len(rows) if x.ndim == rows.ndim and len(rows) else 0):
            low, high = part * len(rows), (part + 1) * len(rows)
            if x[low:high].shape == rows.shape and same(x[low:high], rows):
                return f"{name}[{low}:{high}]" + (".T" if value.ndim == 2 else "")
        for part in range(x.shape[-1] // value.shape[-1] if x.ndim == value.ndim == 2 else 0):
            low, high = part * value.shape[-1], (part + 1) * value.shape[-1]
            if x[:, low:high].shape == value.shape and same(x[:, low:high], value):
                return f"{name}[:, {low}:{high}]"
    held = [name for name, x in parameters.items() if x.size >= value.size and np.isin(value, x).all()]
    if held:
        return f"numbers of {held[0]}, {SHUFFLED}"
    return f"read off the values of {read.line}" if read and read.line else "read off its values"
