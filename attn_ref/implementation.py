"""Implementation: what a check asks of anything that computes a block: our mirrors, or a layer of another library.

``engines.backend(name)`` gives one: of an engine, whose mirrors answer, or of a layer by the name that its library
gives it (``attn_ref.foreign``). A check knows no other difference between them than what is said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

import numpy as np

from attn_ref.backend import Run, Slot
from attn_ref.block import Block
from attn_ref.foreign.peer import Peer
from attn_ref.tap import Tapped


class Implementation(Protocol):
    """It expresses blocks, has their weights, runs them and tells what it is known to do otherwise."""

    #: as it is called
    engine: str
    #: engine -> how many shapes a check draws, where new shapes are compiled
    shapes: ClassVar[dict[str, int]]
    #: what is said of it, if it is a layer of another library: what it can mean, its names of weights, its deviations
    peer: ClassVar[Peer | None]

    def outside(self, block: Block, inputs: Mapping[str, np.ndarray]) -> str:
        """Why it need not compute this: an option or input that it has not, or a known deviation; empty if it must."""
        ...

    def build(self, block: Block, dtype: str = "float64") -> Any:
        """A new layer that computes ``block``."""
        ...

    def slots(self, layer: Any) -> dict[str, Slot]:
        """Its weights: canonical name -> how to read and write it."""
        ...

    def load(self, layer: Any, weights: Mapping[str, np.ndarray]) -> Any:
        """Put canonical weights into ``layer`` and return it."""
        ...

    def run(
        self, layer: Any, inputs: Mapping[str, np.ndarray], *, observe: bool = True,
        add: Mapping[str, Tapped] | None = None, replace: Mapping[str, Tapped] | None = None, training: bool = False,
    ) -> Run:  # fmt: skip
        """Canonical inputs → output and taps, as many as it has."""
        ...

    def gradients(
        self, layer: Any, inputs: Mapping[str, np.ndarray], cotangent: np.ndarray, *, observe: bool = True,
        replace: Mapping[str, Tapped] | None = None, training: bool = False,
    ) -> Run:  # fmt: skip
        """The same, and the gradients of Σ cotangent · output."""
        ...

    def promises(self, block: Block, dtype: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
        """What it promises besides values -> how that is broken."""
        ...

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        """While it lasts, what its layers draw follows from ``seed``."""
        ...
