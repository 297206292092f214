"""How a parameter of one model is made of those of another: plain data, in words, and done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np

#: how several sources become one array, and what stands for none
JOINS = ("stack", "sum", "zeros", "keep")


@dataclass(frozen=True)
class Rule:
    """``sources`` joined, cut into axes ``split``, of one of them some ``take``n, put in an ``order``, and a shape."""

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    split: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    #: (axis of ``split``, places on it)
    take: tuple[int, tuple[int, ...]] | None = None
    join: str = "stack"

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The parameter."""
        if self.join == "zeros":
            return np.zeros(self.shape)
        parts = [np.asarray(arrays[name], np.float64) for name in self.sources]
        x = sum(parts[1:], parts[0]) if self.join == "sum" else parts[0] if len(parts) == 1 else np.stack(parts)
        if not self.split:
            return x.reshape(self.shape)
        x = x.reshape(self.split)
        if self.take is not None:
            x = np.take(x, self.take[1], self.take[0])
        return np.ascontiguousarray(x.transpose(self.order).reshape(self.shape))

    def fits(self, shapes: Mapping[str, Sequence[int]]) -> str:
        """Why it cannot be done with sources of these shapes; empty if it can."""
        if missing := [name for name in self.sources if name not in shapes]:
            return f"the source has no {', '.join(missing)}"
        if self.join not in JOINS:
            return f"join is one of {', '.join(JOINS)}; got {self.join!r}"
        if self.join in ("zeros", "keep"):
            return "" if not self.sources else "zeros are made of no source"
        sizes = [prod(shapes[name]) for name in self.sources]
        if not sizes or len(set(sizes)) > 1:
            return f"its sources should be of one size; they have {sizes} elements"
        total = sizes[0] * (len(sizes) if self.join == "stack" else 1)
        split = self.split or (total,)
        if prod(split) != total:
            return f"split {list(split)} is {prod(split)} elements, its sources have {total}"
        if self.take is not None:
            axis, places = self.take
            if not 0 <= axis < len(split) or not all(0 <= i < split[axis] for i in places):
                return f"take {[axis, list(places)]} is beyond split {list(split)}"
            total = total // split[axis] * len(places)
        if self.split and sorted(self.order) != list(range(len(split))):
            return f"order should be the axes of split, each once; got {list(self.order)}"
        if total != prod(self.shape):
            return f"it gives {total} elements for a parameter of shape {self.shape}"
        return ""

    def data(self) -> dict[str, Any]:
        """As plain data; what says nothing is left out."""
        told = {name: value for name, value in asdict(self).items() if value not in ((), None)}
        if len(self.sources) < 2 and self.join == "stack":
            del told["join"]
        return told

    @classmethod
    def read(cls, told: Mapping[str, Any], shape: Sequence[int]) -> Rule:
        """Of plain data. ValueError where it is anything else."""
        try:
            take = told.get("take")
            return cls(
                sources=tuple(map(str, told["sources"])), shape=tuple(map(int, told.get("shape", shape))),
                split=tuple(map(int, told.get("split", ()))), order=tuple(map(int, told.get("order", ()))),
                take=(int(take[0]), tuple(map(int, take[1]))) if take else None, join=str(told.get("join", "stack")),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"a rule is sources, split, take, order, join and shape; got {told!r}") from error

    def __str__(self) -> str:
        """In words: what is done, in turn."""
        if self.join == "zeros":
            return "zeros"
        said = ["the sum"] if self.join == "sum" else [f"{len(self.sources)} stacked"] if len(self.sources) > 1 else []
        moved = self.order != tuple(range(len(self.order)))
        turned = self.split[::-1] == self.shape and self.take is None and len(self.sources) == 1
        if moved and len(self.split) == 2 and turned:
            said.append("transposed")
        elif self.split:
            said.append("×".join(map(str, self.split)))
            if self.take is not None:
                axis, places = self.take
                whole = len(places) == self.split[axis]
                said.append(f"{'in the order' if whole else 'the part'} {','.join(map(str, places))} of axis {axis}")
            said += [f"axes {','.join(map(str, self.order))}"] if moved else []
            said += [f"as {'×'.join(map(str, self.shape))}"]
        return ", ".join(said) or "as it is"
