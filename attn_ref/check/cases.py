"""Cases: a block, the sizes of its inputs, and a seed, from which every array follows exactly.

Hard values are drawn on purpose: t ≠ s, rows with nothing to attend to, large logits, batch 1 and batch 0, masks of
every accepted rank. A case is small data, so a report can carry it and anyone can run it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np

from attn_ref.block import Block, Pick
from attn_ref.catalogue import block as find_block
from attn_ref.inputs import KINDS, Input, bind, free_labels, index_bound, resolve, spatial
from attn_ref.weights import cast, rounded, uniform

#: sizes that a free axis is drawn from; mostly different primes, so that no swap of two axes goes unseen
SIZES = (1, 2, 3, 5, 7, 16)
#: the same for a spatial axis, of which there are several: odd and even, for strides
SPATIAL = (1, 2, 3, 5, 6, 8)
#: of a batch, an empty one among them
BATCHES = (2, 3, 1, 2, 3, 0)
#: how the values of an input are drawn
STYLES = {
    "real": ("plain", "plain", "plain", "plain", "large", "huge", "shifted"),
    "bool": ("mixed", "mixed", "hidden", "full"),
    "index": ("plain", "plain", "far", "in order"),
}
#: the half-width of reals: with "large" ones softmax saturates, with "huge" ones exp overflows if nothing is subtracted
#: with "extreme" ones, of which a few gradients are asked, e to the power of what comes out of a kernel does
WIDTHS = {"plain": 1.75, "large": 8.0, "huge": 100.0, "shifted": 1.75, "extreme": 30_000.0}
#: what an index without a bound is drawn below, by its style: "far" ones are beyond tables and beyond 16 bits
UNBOUNDED = {"plain": 64, "far": 70_000, "in order": 10_000}
#: where positions in order begin: beyond the whole numbers that bfloat16 holds
START = 1000
#: where they lie: a variance that is computed as E[x²] − E[x]² loses its digits in "shifted" ones
CENTRES = {"shifted": 100.0}
#: dtype -> style -> the style in its place, where the dtype has not the range: 100 · 100 · 16 is beyond 65504
TAMED = {"float16": {"huge": "large", "shifted": "plain", "far": "plain"}}


@dataclass(frozen=True)
class Case:
    """What is run: the block by name and fields, and for every input that is given its shape and style.

    ``fields`` is plain data: a block among them is told as ``Block.as_data`` tells it.
    """

    block: str
    fields: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    styles: dict[str, str]
    seed: int

    def build(self) -> Block:
        """The block, made once."""
        return self._built

    @cached_property
    def _built(self) -> Block:
        return find_block(self.block).build(self.fields)

    def weights(self, dtype: str = "float64") -> dict[str, np.ndarray]:
        """Seeded weights, rounded to ``dtype``."""
        return cast(self.build().init(self.seed), dtype)

    def inputs(self, dtype: str = "float64") -> dict[str, np.ndarray]:
        """The inputs by name, reals rounded to ``dtype``; where the seed is odd in reversed order in memory.

        A mirror may not care how its inputs lie: torch's ``view`` does, and raises.
        """
        block = self.build()
        dims = bind(block, {name: Shaped(shape, block.inputs[name].kind) for name, shape in self.shapes.items()})
        filled = {
            name: fill(block, name, block.inputs[name], shape, self.styles[name], self.seed, dtype, dims)
            for name, shape in self.shapes.items()
        }
        return {name: np.array(value, order="F" if self.seed % 2 else "C") for name, value in filled.items()}

    def another(self) -> Case:
        """A case of the same block with other sizes, none of which is 0: for a second call of the same layer."""
        block = self.build()
        drawn = (draw(block, Seeded("another", self.seed, i), self.seed + 1) for i in count())
        return next(c for c in drawn if c.shapes != self.shapes and all(map(all, c.shapes.values())))

    def within(self, dtype: str) -> Case:
        """This case for ``dtype``. Huge and shifted inputs overflow float16 by right, so none are drawn for it."""
        tamed = TAMED.get(dtype, {})
        return replace(self, styles={name: tamed.get(style, style) for name, style in self.styles.items()})

    def to_json(self) -> str:
        """One line."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(told, ensure_ascii=False, default=lambda block: block.as_data())

    @classmethod
    def from_json(cls, text: str) -> Case:
        """The inverse of ``to_json``. ValueError when ``text`` is no case."""
        try:
            data = json.loads(text)
            data["shapes"] = {name: tuple(shape) for name, shape in data["shapes"].items()}
            data["fields"] = {name: tuple(x) if isinstance(x, list) else x for name, x in data["fields"].items()}
            return cls(**data)
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a case: {error}; a case is the JSON line that a report gives") from error

    def size(self) -> int:
        """How large it is; a report shows the smallest of the cases that fail."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def empty(self) -> bool:
        """Is an axis of an input 0, so that hardly anything is computed?"""
        return not all(map(all, self.shapes.values()))


class Shaped:
    """An input of which only the shape and the kind are known."""

    def __init__(self, shape: tuple[int, ...], kind: str) -> None:
        self.shape, self.dtype = shape, KINDS[kind][0]


def fill(
    block: Block,
    name: str,
    spec: Input,
    shape: tuple[int, ...],
    style: str,
    seed: int,
    dtype: str,
    dims: Mapping[str, int],
) -> np.ndarray:
    """An input's values."""
    values = uniform(shape, seed, "input", name)
    if spec.kind == "index":
        bound = index_bound(block, spec, dims)[0] or UNBOUNDED[style]
        least = -dims[spec.downto] if spec.downto else 0
        if style == "in order":
            order = np.arange(values.size).reshape(shape) % (bound - least)
            # from the top where there is one: lengths and offsets are whole first
            return bound - 1 - order if index_bound(block, spec, dims)[0] else order + START
        share = np.minimum((values + 1.0) / 2.0 * (bound - least), bound - least - 1)  # of what it may be
        return np.asarray(share).astype(np.int64) + least
    if spec.kind == "real":
        return rounded(CENTRES.get(style, 0.0) + values * WIDTHS[style], dtype)
    keep = np.asarray(values > (-1.0 if style == "full" else -0.4))
    if style == "hidden" and keep.size:  # one whole row of keys
        rows = keep.reshape(-1, keep.shape[-1]) if keep.ndim else keep.reshape(1, 1)
        rows[seed % len(rows)] = False
    return keep


def draw(
    block: Block, pick: Pick, seed: int, style: Pick | None = None, sizes: Callable[..., int] | None = None
) -> Case:
    """A case of the block, valid by construction. ``pick`` chooses, ``seed`` fills.

    ``style`` chooses styles in its place, and ``sizes(label, *options)`` the size of a label.
    """
    given: dict[str, Input] = {}
    stands: dict[str, Input] = {}  # name -> the declaration of the input that really stands there
    same: dict[str, str] = {}  # label -> the label whose size it takes, where an input is left out
    for name, spec in block.inputs.items():
        if spec.default and _can_stand_in(block, spec, stands.get(spec.default)) and pick(True, False):
            other = stands[name] = stands[spec.default]
            same |= {a: b for a, b in zip(spec.axes, other.axes, strict=True) if a != b and "{" not in a + b}
        elif not (spec.optional and pick(True, False)):
            given[name] = stands[name] = spec
    dims: dict[str, int] = {}
    labels = free_labels(given.values())
    for label in labels:
        options = BATCHES if label == "b" else _sizes(block, label)
        dims[label] = sizes(label, *options) if sizes else pick(*options)
    dims |= {label: dims[other] for label, other in same.items() if other in dims}
    shapes = {name: _shape(block, spec, dims, pick) for name, spec in given.items()}
    styles = {name: (style or pick)(*STYLES[spec.kind]) for name, spec in given.items()}
    return Case(type(block).__name__, block.as_data()["fields"], shapes, styles, seed)


def _can_stand_in(block: Block, spec: Input, other: Input | None) -> bool:
    """Can ``other`` take the place of ``spec``: do its fixed axes have the sizes that ``spec`` asks for?"""
    if other is None:
        return False
    pairs = zip(spec.axes, other.axes, strict=True)
    return all("{" not in a + b or resolve(block, a, {}) == resolve(block, b, {}) for a, b in pairs)


def _sizes(block: Block, label: str) -> tuple[int, ...]:
    sizes = SPATIAL if spatial(label) else SIZES
    least = getattr(block, block.least[label]) if label in block.least else 1
    bound = getattr(block, block.limits[label]) if label in block.limits else None
    if bound is None:
        return tuple(size for size in sizes if size >= least)
    return tuple(size for size in (*sizes, bound) if least <= size <= bound)


def _shape(block: Block, spec: Input, dims: Mapping[str, int], pick: Pick) -> tuple[int, ...]:
    sizes = [resolve(block, axis, dims) for axis in spec.axes]
    if None in sizes:
        raise ValueError(f"{type(block).__name__}: '{spec.labels}' has an axis that no required input tells")
    if not spec.broadcast:
        return tuple(size for size in sizes if size is not None)
    rank = pick(*(spec.ranks or range(len(sizes) + 1)))
    kept = sizes[len(sizes) - rank :]
    return tuple(size if size is not None and pick(True, True, False) else 1 for size in kept)


class Seeded:
    """``pick`` from a seed: the same choices on every machine and with every NumPy."""

    def __init__(self, *seed: int | str) -> None:
        self.seed, self.count = seed, 0

    def __call__(self, *options: Any) -> Any:
        self.count += 1
        (value,) = uniform((1,), *self.seed, self.count)
        return options[int((value + 1.0) / 2.0 * len(options))]


class Sorted:
    """``pick`` by what is chosen: one for sizes, which are whole numbers or None, another for all other options."""

    def __init__(self, sizes: Pick, others: Pick) -> None:
        self.sizes, self.others = sizes, others

    def __call__(self, *options: Any) -> Any:
        size = all(option is None or type(option) is int for option in options)
        return (self.sizes if size else self.others)(*options)


def cases(
    cls: type[Block],
    count: int,
    seed: int = 0,
    shapes: int | None = None,
    *,
    vary: bool = False,
    wanted: Callable[[Case], bool] | None = None,
) -> list[Case]:
    """``count`` seeded cases of a block, all different; or of so many ``shapes``, each for a row of cases.

    Cases of one shape differ in values and their styles; with ``vary`` also in the block's options other than sizes.
    ``wanted`` says which are taken; if too few are found, others are.
    """
    name, found = cls.__name__, []
    shapes = min(shapes or count, count)
    numbers = list(range(shapes)) if wanted is None else _numbers(cls, shapes, seed, wanted)
    for i in range(count):
        number = seed * 1_000_003 + i
        pick, own = Seeded(seed, name, numbers[i * shapes // count]), Seeded(seed, name, "own", i)
        block = cls.sample(Sorted(pick, own) if vary and shapes < count else pick)
        found.append(draw(block, pick, number, own if shapes < count else None))
    return found


def _numbers(cls: type[Block], count: int, seed: int, wanted: Callable[[Case], bool]) -> list[int]:
    """The first ``count`` numbers of picks whose cases are wanted, and those that lack, of 16 times as many."""
    good: list[int] = []
    for n in range(16 * count):
        pick = Seeded(seed, cls.__name__, n)
        if wanted(draw(cls.sample(pick), pick, seed)):
            good.append(n)
        if len(good) == count:
            break
    return [*good, *(n for n in range(count) if n not in good)][:count]
