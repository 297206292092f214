"""What a trap is, and what it is told of the place where it acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import Tapped, record

Inputs = dict[str, np.ndarray]
#: the name under which what comes out of a block is a place like a tap
OUTPUT = "output"


class Absent(Exception):
    """What a trap needs is not there: it does not apply."""


@dataclass(frozen=True)
class Here:
    """A tap of a block that runs: what stands there, and what is known of the block so far."""

    #: the block in which the tap lies, the names of the blocks that lead to it, and the tap's own name
    block: Any
    scope: str
    name: str
    #: what the definition has there, and the labels of its axes
    right: np.ndarray
    labels: str
    #: of that block
    inputs: Inputs
    weights: Any
    #: the taps before, by their names within the block
    taps: Mapping[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        """An earlier tap of this block."""
        if name not in self.taps:
            raise Absent(name)
        return self.taps[name]

    def given(self, name: str) -> np.ndarray:
        """An input of this block."""
        if name not in self.inputs:
            raise Absent(name)
        return self.inputs[name]

    def weight(self, name: str) -> np.ndarray:
        """A parameter of this block."""
        value = self.weights[name]
        if not isinstance(value, np.ndarray):  # a view of those whose names begin so
            raise Absent(name)
        return value

    def option(self, name: str) -> Any:
        """An option of this block."""
        if not hasattr(self.block, name):
            raise Absent(name)
        return getattr(self.block, name)

    def need(self, ok: Any) -> None:
        """The trap does not apply unless ``ok``."""
        if not ok:
            raise Absent("a condition")

    def last(self, *names: str) -> np.ndarray:
        """The last tap so far of those that have one of these names."""
        for name, value in reversed([*self.taps.items()]):
            if name in names:
                return value
        raise Absent(names[0])

    @cached_property
    def scores(self) -> np.ndarray:
        """What goes into the softmax, masked where there is a mask."""
        return self.last("scores", "capped", "biased", "masked", "inverted")

    @cached_property
    def unmasked(self) -> np.ndarray:
        """The same before the mask."""
        return self.last("scores", "capped", "biased")

    @cached_property
    def keep(self) -> np.ndarray:
        """Which scores the mask keeps."""
        return np.isfinite(self["masked"] if "masked" in self.taps else self.right)

    def other(self, **options: Any) -> np.ndarray:
        """What the block would have here with other options and the same weights."""
        if all(self.option(name) == value for name, value in options.items()):
            raise Absent("another option")
        try:
            other = replace(self.block, **options)
            with record() as taps:
                other.forward(self.weights, **self.inputs)
        except (ValueError, KeyError, TypeError) as error:
            raise Absent("these options") from error
        for name in (self.name, "biased", "capped", "scores") if self.name == "masked" else (self.name,):
            if name in taps:
                return np.asarray(taps[name].value)
        raise Absent(self.name)


Value = Callable[[Here], Any]


class Example(NamedTuple):
    """A small case: a block, and inputs for it."""

    block: Block
    inputs: Inputs

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Seeded weights."""
        return self.block.init()


@dataclass(frozen=True, kw_only=True)
class Trap:
    """One way in which the world deviates from a block's definition. What is left out is as it is defined.

    A row of the catalogue says all of ``says`` to ``shows``, and how it deviates: by ``value`` or by ``options``.
    """

    name: str
    #: what deviates, in one sentence
    says: str
    #: how one sees it without a reference, what to do, and who did it
    symptom: str = ""
    fix: str = ""
    evidence: str = ""
    #: the blocks that have the tap, and the tap's name within them, ``*`` for any part of it
    blocks: tuple[str, ...] = ()
    at: str = ""
    #: what stands at the tap; None, or ``Absent`` raised, where the trap does not apply
    value: Value | None = None
    #: what stands at later taps too: their names -> values
    then: Mapping[str, Value] = field(default_factory=dict)
    #: the block is another one: options -> their values
    options: Mapping[str, Any] | None = None
    #: a small case in which it shows
    shows: Callable[[], Example] | None = None

    #: what is given, by the names that the world uses -> the block's inputs
    inputs: Callable[[Inputs], Inputs] | None = None
    #: (block, weights, inputs) -> what is added at taps
    add: Callable[[Block, Mapping[str, Any], Inputs], dict[str, Tapped]] | None = None
    #: (block, weights, inputs) -> what stands at taps instead
    replace: Callable[[Block, Mapping[str, Any], Inputs], dict[str, Tapped]] | None = None
    #: what came out -> what comes out
    output: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def values(self) -> dict[str, Value]:
        """Tap -> what stands there, the first first."""
        return ({self.at: self.value} if self.value else {}) | dict(self.then)


def row(blocks: str | Sequence[str], at: str, name: str, says: str, **rest: Any) -> Trap:
    """A row of the catalogue; ``blocks`` between spaces."""
    named = tuple(blocks.split()) if isinstance(blocks, str) else tuple(blocks)
    return Trap(blocks=named, at=at, name=name, says=says, **rest)


def by_option(**options: Any) -> Value:
    """What the block has at the tap with other options."""
    return lambda here: here.other(**options)
