"""A bias that a layer makes itself and adds to its scores, such as one of positions: read off, and named.

The block takes it as an input. What a layer has more than the products of its queries and keys, and what is the same
for all examples, is a bias of its own. It is read off anew for every case, since it depends on the sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import attn_ref as ar
from attn_ref.block import Block
from attn_ref.tap import record
from attn_ref.trace.match import hides, same, turned
from attn_ref.trace.options import alternatives, rebuilt
from attn_ref.trace.record import Line, Trace
from attn_ref.verbs.kinds import ADDED
from attn_ref.verbs.made import Inputs

#: taps before which a bias is added
BEFORE = ("scores", "capped")


@dataclass(frozen=True)
class OwnBias:
    """A bias (h, t, s) that a layer adds, and the line that does."""

    value: np.ndarray
    #: where it is told: not where a mask hides it
    seen: np.ndarray
    line: Line | None

    def named(self) -> str:
        """What it is, in words."""
        where = f" at {self.line.short}" if self.line else ""
        for block in known(len(self.value)):
            if self.is_that(block):
                tokens = self.value.shape[-1]  # longer distances may have others
                return f"it adds a bias of its own{where}: that of {block}, as far as {tokens} tokens tell"
        what = "that depends on the distance alone" if self.toeplitz() else "that is the same for all inputs"
        return f"it adds a bias of its own{where}, {what} and is none that is known"

    def is_that(self, block: Block) -> bool:
        """Is it that block's, but for a number that is added to a whole row, which a softmax does not see?"""
        t, s = self.value.shape[1:]
        positions = np.arange(t), np.arange(s)
        shapes = {name: p.shape for name, p in block.params().items()}
        if not shapes:
            theirs, ours = self.value - self.value[..., :1], block({}, *positions)
            return same(theirs[self.seen], (ours - ours[..., :1])[self.seen])
        # of a table the rows are told apart by their numbers
        ((name, shape),) = shapes.items()
        row = block({name: np.broadcast_to(np.arange(shape[0])[:, None], shape).astype(np.float64)}, *positions)[0]
        return len(np.unique(row)) > 2 and all(self.one_number(row == n) for n in np.unique(row))

    def one_number(self, where: np.ndarray) -> bool:
        """Is it, for every head, one number at these places (t, s)?"""
        return all(
            same(x, np.full_like(x, x[0]))
            for x in (v[s & where] for v, s in zip(self.value, self.seen, strict=True))
            if x.size
        )

    def toeplitz(self) -> bool:
        """Is it the same along every diagonal?"""
        both = self.seen[:, 1:, 1:] & self.seen[:, :-1, :-1]
        return same(self.value[:, 1:, 1:][both], self.value[:, :-1, :-1][both])


def input_of(block: Block) -> str | None:
    """The block's input that is added to scores; None where it has none."""
    return next((name for name in ADDED if name in block.inputs), None)


def read_own(
    block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, trace: Trace, sure: bool = False
) -> OwnBias | None:
    """The bias that is in a trace, for weights that are known as far as to the scores; None where there is none.

    ``sure``: there is one, so that few tokens, of which it has few numbers, do not make it look like a mask.
    """
    try:
        with record() as taps, np.errstate(all="ignore"):
            block({name: weights.get(name, np.zeros(p.shape)) for name, p in block.params().items()}, **inputs)
    except (ValueError, IndexError):
        return None
    every = [np.asarray(x.value) for name, x in taps.items() if name.rpartition(".")[2] in BEFORE]
    if not every or not np.isfinite(every[-1]).all() or not every[-1].any():
        return None
    scores = every[-1]
    for one in trace.records:
        for value in turned(one.value, scores.shape) if one.value.size == scores.size else ():
            found = common(value, scores, sure)
            if found is not None:
                return OwnBias(*found, one.line)
    return None


def common(value: np.ndarray, scores: np.ndarray, sure: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """What a value (b, h, t, s) has more than scores, and where it is told; None if it is not one for all of the batch.

    What is masked says nothing. A number alone, or two of which one is 0, are no bias: so looks a mask.
    """
    seen = np.isfinite(value) & ~hides(value)
    if not seen.any(0).all() and not seen.any(0).any(-1).all():
        return None
    more = np.where(seen, value - scores, np.nan)
    with np.errstate(all="ignore"):
        low, high = np.nanmin(np.where(seen, more, np.inf), 0), np.nanmax(np.where(seen, more, -np.inf), 0)
    at = seen.any(0)
    bias = np.where(at, low, 0.0)
    top = max(float(np.max(np.abs(scores))), float(np.max(np.abs(bias))))
    if len(value) < 2 or np.max(np.abs(high - low)[at], initial=0.0) > 1e-9 * top or np.max(np.abs(bias)) <= 1e-9 * top:
        return None
    kinds = np.unique(np.round(bias[at] / top, 9))
    return (bias, at) if sure or kinds.size > 2 or (kinds.size == 2 and 0.0 not in kinds) else None


def known(heads: int) -> Iterator[Block]:
    """The biases that are known, for so many heads."""
    for plain in (ar.LinearPositionBias(num_heads=heads), ar.RelativePositionBias(num_heads=heads)):
        yield plain
        for name, value in alternatives(plain):
            if name == "num_heads":
                continue
            try:
                yield rebuilt(plain, name, value)
            except ValueError:  # of options that do not go together
                continue


def with_own(block: Block, inputs: Inputs, found: OwnBias) -> dict[str, Any]:
    """The inputs with the bias that was found."""
    name = input_of(block)
    assert name is not None
    return {**inputs, name: found.value[None]}


def own_biases(tried: Sequence[Any], block: Block) -> Iterator[tuple[Any, OwnBias]]:
    """(way to call a layer, the bias of its own that it adds then)."""
    for one in tried if input_of(block) else ():
        found = read_own(block, one.best.weights, one.search.inputs, one.search.trace)
        if found is not None:
            yield one, found
