"""Options whose values are in the numbers at a place: which keys a query attends to, and a factor of the scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.match import hides, ratio
from attn_ref.trace.reason import Changes


def read_off(
    block: Block, inputs: Mapping[str, np.ndarray], tap: str, ours: np.ndarray, theirs: np.ndarray
) -> Iterator[Changes]:
    """What the options of the block would be that has ``theirs`` at a tap; whether it has is for the caller to see."""
    name = tap.rpartition(".")[2]
    if theirs.ndim != 4:
        return
    for path, part in parts(block):
        fields = part.fields()
        if name in ("masked", "weights") and "window_left" in fields:
            for seen in bands(theirs != 0 if name == "weights" else ~hides(theirs)):
                changes = tuple((path + key, value) for key, value in seen.items() if fields[key] != value)
                if changes:
                    yield changes
        if name == "scores" and "scale" in fields and (factor := ratio(theirs, ours)) is not None:
            width = getattr(part, "d", None) or np.shape(inputs["query"])[-1]
            now = {"head": width**-0.5, "total": (theirs.shape[1] * width) ** -0.5, None: 1.0}
            yield ((f"{path}scale", float(f"{now.get(fields['scale'], fields['scale']) * factor:.12g}")),)


def parts(block: Block, before: str = "") -> Iterator[tuple[str, Block]]:
    """(path of its options, a block): itself, and those among its fields."""
    yield before, block
    for name, value in block.fields().items():
        if isinstance(value, Block):
            yield from parts(value, f"{before}{name}.")


def bands(seen: np.ndarray) -> Iterator[dict[str, Any]]:
    """The causality and the window in which a query (…, t, s) attends to a key, if it is one, from either corner."""
    t, s = seen.shape[-2:]
    rows = seen.reshape(-1, t, s)
    if not rows.size or (rows != rows[0]).any() or rows[0].all() or not rows[0].any():
        return
    for corner, start in (("top_left", 0), ("bottom_right", s - t)):
        distance = np.arange(s) - np.arange(t)[:, None] - start
        least, most = distance[rows[0]].min(), distance[rows[0]].max()
        if not np.array_equal(rows[0], (distance >= least) & (distance <= most)):
            continue
        left = -int(least) if least > distance.min() else None
        right = int(most) if most < distance.max() else None
        if (left is not None and left < 0) or (right is not None and right < 0):
            continue
        if right == 0:
            yield {"causal": corner, "window_left": left, "window_right": None}
        elif corner == "top_left":  # where nothing says otherwise, query i stands at key i
            yield {"causal": None, "window_left": left, "window_right": right}
