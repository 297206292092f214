"""A layer or model of another library, as a check runs it: what it can mean, its weights, its call, its deviations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from attn_ref.block import Block
from attn_ref.foreign.rules import Rule
from attn_ref.tap import record


class Spot(NamedTuple):
    """A value inside a foreign module that is a tap of the block."""

    #: the module's path
    module: str
    #: "in": its first argument; "read": the same, which is used elsewhere too, so that no gradient belongs to it;
    #: "out": its result, or the first of its results; "heads": that, cut into heads; "flat" and "flat in": its
    #: result and its first argument, with all but the first axis put together
    what: str
    #: its name; of a module that is called several times, ``{n}`` in it is how often it was called before
    tap: str
    labels: str
    #: into how many heads it is cut; 0: as many as the block says
    heads: int = 0


def of_layers(here: str, count: int, spots: Iterable[tuple[str, str, str, str]]) -> Iterator[Spot]:
    """The spots inside each of ``count`` layers, the modules ``here``.0, ``here``.1 …, and what each layer gives."""
    for i in range(count):
        for module, what, tap, labels in spots:
            yield Spot(f"{here}.{i}.{module}", what, f"layers.{i}.{tap}", labels)
        yield Spot(f"{here}.{i}", "out", f"layer_{i}", "b t c")


#: (block, inputs) -> does it show?
Shows = Callable[[Any, Mapping[str, np.ndarray]], bool]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What one says of a foreign layer. Its functions take a block of the kind ``block``."""

    #: as its library calls it; a check runs it under this name
    name: str
    #: the block that it computes
    block: str
    #: the engine on whose framework it runs, and the modules that it takes
    engine: str
    needs: tuple[str, ...]
    #: what of a block it cannot mean, a line each
    refuses: Callable[[Any], list[str]]
    #: the inputs that it knows
    inputs: tuple[str, ...]
    #: of a block: a rule for each parameter, foreign names being paths of attributes
    weights: Callable[[Any], Iterable[Rule]]
    #: (block, dtype) -> a new layer
    make: Callable[[Any, str], Any]
    #: (layer, block, inputs as tensors) -> the output
    call: Callable[..., Any]
    #: of a block: where its taps are inside the layer, if anywhere
    spots: Callable[[Any], Iterable[Spot]] = lambda block: ()
    #: what it does otherwise than the block, in words -> where that shows
    deviates: Mapping[str, Shows] = field(default_factory=dict)

    def outside(self, block: Block, inputs: Mapping[str, np.ndarray]) -> str:
        """Why it need not compute this: what it cannot mean, or what it is known to do otherwise; empty if it must."""
        if lines := self.refuses(block):
            return lines[0]
        if strange := [name for name in inputs if name not in self.inputs]:
            return f"it has no input {strange[0]}"
        return next((what for what, shows in self.deviates.items() if shows(block, inputs)), "")


def darkened(block: Block, inputs: Mapping[str, np.ndarray], scope: str) -> bool:
    """Has the attention at ``scope`` a row with nothing to attend to?"""
    with record() as taps:
        block(block.init(), **inputs)
    weights = taps[f"{scope}.weights"].value
    return bool((weights.sum(axis=-1) == 0).any())
