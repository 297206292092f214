"""Exact directional derivatives of a block, without deriving anything: the complex step.

For an analytic f, f(x + i·h·v) = f(x) + i·h·(J v) + O(h²), so J·v = Im f(x + i·h·v) / h. No two nearby values are
subtracted, so h can be 1e-30 and the error is that of one evaluation. It needs an f whose every operation lets the
imaginary part through, which is what ``ops`` promises and the tests hold it to.

Source: Squire and Trapp 1998, "Using complex variables to estimate derivatives of real functions".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import Probe, Tapped, no_such_tap, probe

STEP = 1e-30
#: derivatives below it lose digits, since the imaginary part that they are is no normal number
LEAST = 2.0**-1022 / STEP


def jvp(
    block: Block,
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    *,
    dw: Mapping[str, Any] | None = None,
    dx: Mapping[str, Any] | None = None,
    dtaps: Mapping[str, Any] | None = None,
    replace: Mapping[str, Tapped] | None = None,
    listener: type[Probe] = Probe,
    **listening: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """(y, J·v): the output and its derivative along v, both float64.

    ``dw``, ``dx`` and ``dtaps`` give v: directions of parameters, inputs and taps by name, in their shapes; a tap's is
    added to its value, as a ``Tapped`` or in the tap's own layout. ``replace`` replaces taps, as in training.
    ValueError for a name that is not there.

    >>> import attn_ref as ar, numpy as np
    >>> block = ar.FeedForward(width=1, hidden_width=1, activation="gelu")
    >>> w, x = block.init(), np.ones((1, 1, 1))
    >>> y, slope = ar.jvp(block, w, {"x": x}, dw={"reduce.bias": np.ones(1)})
    >>> slope.tolist()
    [[[1.0]]]
    """
    moved_weights, moved_inputs = _step(weights, dw, "parameter"), _step(inputs, dx, "input")
    given = {name: v if isinstance(v, Tapped) else Tapped(v, "") for name, v in (dtaps or {}).items()}
    steps = {name: Tapped(1j * STEP * np.asarray(v.value), v.labels) for name, v in given.items()}
    with probe(listener(add=steps, replace=replace, **listening)) as heard:
        y = block(moved_weights, **moved_inputs)
    if unused := heard.unused():
        raise ValueError(no_such_tap(unused, heard.seen))
    return y.real.astype(np.float64), np.imag(y).astype(np.float64) / STEP


def _step(values: Mapping[str, np.ndarray], v: Mapping[str, Any] | None, what: str) -> dict[str, np.ndarray]:
    """x + i·h·v."""
    v = v or {}
    if unknown := [name for name in v if name not in values]:
        raise ValueError(f"no such {what}: {', '.join(unknown)}; there are: {', '.join(values)}")
    return {name: x + 1j * STEP * np.asarray(v[name]) if name in v else x for name, x in values.items()}
