"""How alike the values of a block and of a traced layer are by their sizes alone, before any number is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import record
from attn_ref.trace.record import Trace

#: of the two shares, that of the block's taps
TAPS = 0.75
#: into so many values, one for each head, a tap may be split
PARTS = 32
#: the taps that a fused call of attention does not give
INSIDE = ("scores", "capped", "biased", "masked", "weights", "dropped")


@dataclass
class Seen:
    """The sizes of what a layer computes, and of what it gives. ``fused``: has it a call that is all of attention?"""

    values: Counter[int]
    outputs: set[int]
    fused: bool


def seen(trace: Trace, outputs: Sequence[np.ndarray]) -> Seen:
    """Those of a trace. Single numbers say nothing."""
    sizes = [r.value.size for r in trace.records if r.value.size > 1]
    fused = any("attention" in r.operation for r in trace.records)
    return Seen(Counter(sizes), {y.size for y in outputs}, fused)


def likeness(block: Block, inputs: Mapping[str, np.ndarray], layer: Seen) -> float:
    """From 0 to 1: the share of the block's taps of whose size the layer has a value, and the other way round.

    0 where the block gives something of another size than the layer.
    """
    output = None
    with record() as taps, np.errstate(all="ignore"), suppress(ValueError, IndexError, TypeError):
        output = block(block.init(), **inputs)
    if output is None or np.size(output) not in layer.outputs:
        return 0.0
    given = {n: x for n, x in taps.items() if not (layer.fused and n.rpartition(".")[2] in INSIDE)}
    if layer.fused and len(given) == len(taps):
        return 0.0  # it has no attention
    wanted = [np.size(tap.value) for tap in given.values() if np.size(tap.value) > 1]
    if not wanted or not layer.values:
        return TAPS
    met = sum(size in layer.values or in_parts(size, layer.values) for size in wanted) / len(wanted)
    known = set(wanted) | {x.size for x in inputs.values()}
    back = sum(size in known for size in layer.values) / len(layer.values)
    return TAPS * met + (1 - TAPS) * back


def in_parts(size: int, values: Counter[int]) -> bool:
    """Does the layer have a value of that size head by head?"""
    return any(size % n == 0 and values.get(size // n, 0) >= n for n in range(2, PARTS + 1))
