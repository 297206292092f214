"""What a layer gives for a query that may attend to nothing: zeros, the mean of all values, NaN, or something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import record, replace
from attn_ref.trace.match import same, turned
from attn_ref.verbs.calling import Call
from attn_ref.verbs.conventions import Convention, Run, sizes_of
from attn_ref.verbs.kinds import HIDING
from attn_ref.verbs.made import Inputs

#: no queries
NONE = np.zeros((0, 0), bool)


def dark(block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs) -> np.ndarray:
    """The queries (b, t) that may attend to nothing in some head; none of a block without queries."""
    if not {"b", "t"} <= {*block.output_axes.split()}:
        return NONE
    with record() as taps, np.errstate(all="ignore"):
        block(weights, **inputs)
    rows = [np.asarray(x.value).sum(-1) == 0 for name, x in taps.items() if name.rpartition(".")[2] == "weights"]
    return np.asarray(np.any([row.any(1) if row.ndim == 3 else row for row in rows], axis=0)) if rows else NONE


def at_nothing(
    run: Run,
    block: Block,
    weights: Mapping[str, np.ndarray],
    inputs: Inputs,
    call: Call,
    conventions: Sequence[Convention],
) -> str | None:
    """What the layer gives for a query that may attend to nothing, in words; None where that cannot be asked."""
    asked = [c for c in conventions if c.input in HIDING]
    for one in asked:
        value = one.neutral(sizes_of(block, one.input, inputs))
        value[np.s_[0, :, 0] if value.ndim > 1 else 0] = 0  # the first query of the first example, or its keys
        more = {**inputs, one.input: value}
        lost = dark(block, weights, more)
        try:
            _, outputs = run(call, more, 0)
        except Exception as error:
            return f"a query with nothing to attend to: the layer raises {type(error).__name__}"
        return says_at(block, weights, more, lost, outputs)
    return None


def says_at(
    block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, lost: np.ndarray, outputs: Sequence[np.ndarray]
) -> str:
    """What comes out at queries (b, t) that may attend to nothing, in words."""
    want = block(weights, **inputs)
    for name, rows in given_there(block, weights, inputs, lost):
        for y in outputs:
            for x in turned(y, want.shape) if y.size == want.size else ():
                got = at_tokens(x, block.output_axes, lost)
                if (np.isnan(got).all() and name == "NaN") or (rows is not None and same(got, rows)):
                    return f"a query with nothing to attend to gives {name}"
    return "a query with nothing to attend to gives something else than zeros, the mean of all values or NaN"


def at_tokens(x: np.ndarray, labels: str, tokens: np.ndarray) -> np.ndarray:
    """What is at those tokens (b, t) of a value whose axes have these labels."""
    names = labels.split()
    return np.moveaxis(x, (names.index("b"), names.index("t")), (0, 1))[tokens]


def given_there(
    block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, lost: np.ndarray
) -> Iterator[tuple[str, np.ndarray | None]]:
    """(in words, what comes out at the queries that are lost), as it is usual."""
    own = block(weights, **inputs)
    labels = block.output_axes
    yield "zeros as its weights, as the block does", at_tokens(own, labels, lost)
    yield "NaN", None
    yield "zeros at the output", np.zeros_like(at_tokens(own, labels, lost))

    def even(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(x.sum(-1, keepdims=True) == 0, 1 / x.shape[-1], x))

    with record() as taps:
        block(weights, **inputs)
    names = [name for name in taps if name.rpartition(".")[2] == "weights"]
    with replace(dict.fromkeys(names, even)):
        yield "the mean of all values", at_tokens(block(weights, **inputs), labels, lost)
