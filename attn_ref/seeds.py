"""The seed systems S1 to S19: what published tutorials compute, exactly, as a block, its options and traps.

``ar.seed("S16")`` is callable as the tutorial's function is, on the reference and, with an engine's name, on a mirror:

>>> import attn_ref as ar, numpy as np
>>> s16 = ar.seed("S16")
>>> x = np.ones((1, 2, 3, 4))
>>> s16({}, x, x, x, mask=np.zeros((3, 3))).shape
(1, 2, 3, 4)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref.backend import Run, backend
from attn_ref.block import Block
from attn_ref.catalogue import block as find_block
from attn_ref.tap import Tapped, add, replace
from attn_ref.traps import Trap

Options = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A seed system: which block it is, under which options and traps."""

    row: str
    title: str
    block: str
    #: sizes that its caller gives, with small examples
    sizes: Options
    #: sizes -> the block's options
    options: Callable[[Options], Options]
    #: sizes -> the traps that apply
    traps: Callable[[Options], Sequence[Trap]] = field(default=lambda sizes: ())
    #: the names of its arguments, in order; None: the block's
    arguments: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Seed:
    """A row with its sizes."""

    row: Row
    sizes: Options

    @cached_property
    def block(self) -> Block:
        """The block with its options."""
        return find_block(self.row.block).build(self.row.options(self.sizes))

    @property
    def traps(self) -> Sequence[Trap]:
        """What deviates from the block's definition."""
        return self.row.traps(self.sizes)

    def __call__(self, weights: Mapping[str, Any], *args: Any, engine: str | None = None, **kwargs: Any) -> np.ndarray:
        """What the seed's function gives; with ``engine`` by that engine's mirror."""
        return self.run(weights, *args, engine=engine, **kwargs).output

    def run(self, weights: Mapping[str, Any], *args: Any, engine: str | None = None, **kwargs: Any) -> Run:
        """The same, with every tap."""
        inputs = self.inputs(*args, **kwargs)
        added, replaced = self.changes("add", weights, inputs), self.changes("replace", weights, inputs)
        if engine is None:
            with add(added) as _, replace(replaced) as taps:
                y = self.block(weights, **inputs)
            run = Run(y, taps)
        else:
            served = backend(engine)
            layer = served.load(served.build(self.block), weights)
            run = served.run(layer, inputs, add=added, replace=replaced)
        for trap in self.traps:
            if trap.output:
                run.output = trap.output(run.output)
        return run

    def inputs(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """The block's inputs from the seed's arguments."""
        names = self.row.arguments or tuple(self.block.inputs)
        if len(args) > len(names):
            raise ValueError(f"{self.row.row} takes {len(names)} arguments, {', '.join(names)}; got {len(args)}")
        given = dict(zip(names, args, strict=False)) | kwargs
        arrays = {name: np.asarray(x) for name, x in given.items() if x is not None}
        for trap in self.traps:
            arrays = trap.inputs(arrays) if trap.inputs else arrays
        return arrays

    def changes(self, kind: str, weights: Mapping[str, Any], inputs: dict[str, np.ndarray]) -> dict[str, Tapped]:
        """What the traps add to taps or put in their place."""
        found: dict[str, Tapped] = {}
        for trap in self.traps:
            if make := getattr(trap, kind):
                found |= make(self.block, weights, inputs)
        return found


def seeds() -> dict[str, Row]:
    """Every row by name, S1 first."""
    return {row.row: row for row in ROWS}


def seed(name: str, **sizes: Any) -> Seed:
    """The seed system ``name``; sizes that are not given are those of its example. ValueError for unknown names."""
    known = seeds()
    if name not in known:
        raise ValueError(f"unknown seed system {name!r}; there are {', '.join(known)}")
    if unknown := [size for size in sizes if size not in known[name].sizes]:
        raise ValueError(f"{name} has no {', '.join(unknown)}; it has {', '.join(known[name].sizes)}")
    return Seed(known[name], {**known[name].sizes, **sizes})


def same(sizes: Options) -> Options:
    """The sizes are the options."""
    return dict(sizes)
