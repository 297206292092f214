"""Recorded inputs and outputs of the real model, which prove what no file says.

A file of arrays, ``.npz`` or ``.safetensors``: the inputs under the block's names and in its layout, and ``output``;
values at taps too, under the names of the taps. The reference is run on the inputs, with the source's weights, and held
to what was recorded, within the tolerance of the dtype that it was recorded in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from attn_ref.block import Block
from attn_ref.check.judge import settle
from attn_ref.check.tolerance import LIMIT, OUTPUT, Truth
from attn_ref.names import hints
from attn_ref.port.believed import TRIED, believed, others
from attn_ref.port.checkpoint import FLOATS, Checkpoint, CheckpointError
from attn_ref.port.files import read
from attn_ref.port.plan import Plan
from attn_ref.port.proof import End, compare, known_gaps
from attn_ref.tap import Tapped, record


class Example:
    """What was recorded."""

    def __init__(self, path: Path, block: Block) -> None:
        with read(path) as file:
            arrays = {name: np.asarray(value) for name, value in file.items()}
            dtypes = {spec.dtype for name, spec in file.specs.items() if name not in block.inputs}
        self.path, self.block = path, block
        self.inputs = {name: value for name, value in arrays.items() if name in block.inputs}
        self.outputs = {name: value for name, value in arrays.items() if name not in block.inputs}
        try:
            self.inputs = block.checked(**self.inputs)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: its inputs are none of {type(block).__name__}: {error}") from error
        if not self.outputs:
            raise CheckpointError(f"{path} has no output; save the model's result as 'output'")
        if strange := sorted(dtypes - {*FLOATS}):
            raise CheckpointError(f"{path}: outputs are {', '.join(FLOATS)}; got {', '.join(strange)}")
        #: the coarsest dtype of what came out
        self.dtype = next(dtype for dtype in ("bfloat16", "float16", "float32", "float64") if dtype in dtypes)
        self.seen = {name: Tapped(value.astype(np.float64), "") for name, value in self.outputs.items()}

    def examined(self, weights: Mapping[str, np.ndarray]) -> tuple[End, Truth | None]:
        """How far the recorded values are from the reference, and the reference. CheckpointError for unknown taps."""
        end = End("example", f"{self.path.name}, recorded in {self.dtype}", bound=LIMIT[self.dtype])
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told below
                right = Truth(self.block, weights, self.inputs, self.dtype, known_gaps(self.dtype), runs=0)
        except FloatingPointError as error:
            end.failure = str(error)
            return end, None
        if strange := [name for name in self.seen if name not in right.taps]:
            told = f"{hints(strange, list(right.taps))}outputs are 'output' and taps (attn-ref show)"
            raise CheckpointError(f"{self.path}: {strange[0]} is no input and no tap of this block; {told}")
        seen = {name: self.seen[name] for name in right.taps if name in self.seen}
        settle(right, seen, end.bound)
        end.rows = [compare(name, got, right, end.bound) for name, got in seen.items()]
        return end, right

    def fits(self, other: Block, weights: Mapping[str, np.ndarray], right: Truth) -> bool:
        """Are the recorded values those of another block too, as far as rounding tells?"""
        try:
            with record() as taps, np.errstate(all="ignore"):
                output = other(dict(weights), **self.inputs)
        except (ValueError, FloatingPointError):
            return False
        values = {name: tapped.value for name, tapped in taps.items()} | {OUTPUT: output}
        for name, got in self.seen.items():
            if name not in values or values[name].shape != got.value.shape:
                return False
            error = np.abs(values[name] - got.value).max(axis=-1, initial=0.0)
            if not (error <= LIMIT[self.dtype] * right.unit[name]).all():
                return False
        return True


def examine(plan: Plan, source: Checkpoint, path: Path) -> tuple[End, dict[str, str]]:
    """The example against the reference, and the fields that it leaves no more than believed -> who says them.

    A field is proven where the recorded values are not those of the block with another value of it.
    """
    example, weights = Example(path, plan.block), plan.canonical(source)
    end, right = example.examined(weights)
    names = believed(plan)
    if not end.ok or right is None:
        return end, names
    return end, dict(undecided(example, weights, right, names))


def undecided(
    example: Example, weights: Mapping[str, np.ndarray], right: Truth, names: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """The fields that the example does not decide."""
    for name, by in names.items():
        alike = (o for o in islice(others(example.block, name), TRIED) if example.fits(o, weights, right))
        if (other := next(alike, None)) is not None:
            yield name, f"{by}; the example is that of {getattr(other, name)} too"
