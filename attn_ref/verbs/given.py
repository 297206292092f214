"""What two layers are given: the same numbers, each in its own convention, of shapes that both take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product, zip_longest
from typing import Any

import numpy as np

from attn_ref.verbs.calling import PRIMES, Always, Call, arguments_of, function_of, hides, required
from attn_ref.verbs.candidates import WIDTH
from attn_ref.verbs.made import Inputs, New, fresh
from attn_ref.verbs.sizes import Sizes

#: widths that are tried, and ids of tokens, which every table has
WIDTHS, IDS = 4, 4
#: names of inputs where the user gives none
NAMES = ("x", "y", "z", "u", "v", "w")
#: sizes of later cases, of which no two free axes have the same but for 1, nor that of an axis which is fixed
FEW = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 16)
#: numbers that a layer may hold for a length that it fixes
LENGTHS = ("length", "tokens", "seq", "patches", "positions", "context", "size", "resolution")


def hard_values() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """How the numbers of later cases are changed, by name; the first are plain."""

    def with_zeros(x: np.ndarray) -> np.ndarray:
        x[..., : max(x.shape[-2] // 2, 1) if x.ndim > 1 else 1, :] = 0.0
        return x

    return {
        "": lambda x: x,
        "large": lambda x: 30.0 * x,
        "tiny": lambda x: 1e-3 * x,
        "far from zero": lambda x: x + 50.0,
        "with zeros": with_zeros,
        "all tokens alike": lambda x: np.broadcast_to(x[:, :1], x.shape).copy() if x.ndim > 2 else x,
    }


@dataclass(frozen=True)
class Given:
    """Inputs by name: their axes, as a size or the name of one that is free; or arrays of the user's own."""

    axes: Mapping[str, tuple[int | str, ...]]
    sizes: Mapping[str, int] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()
    own: Mapping[str, np.ndarray] = field(default_factory=dict)

    def draw(self, seed: int, style: str = "", sizes: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
        """Arrays; what the user gave that is no real stays as it is. Reals are numbers of float32."""
        rng = np.random.default_rng([seed, 11])
        named = {**self.sizes, **(sizes or {})}
        found: dict[str, np.ndarray] = {}
        for name, axes in self.axes.items():
            own = self.own.get(name)
            shape = tuple(named[n] if isinstance(n, str) else n for n in axes)
            if own is not None and own.dtype.kind != "f":
                found[name] = own
            elif name in self.ids:
                found[name] = rng.integers(0, IDS, shape)
            else:
                value = hard_values()[style](rng.standard_normal(shape))
                found[name] = value.astype(np.float32).astype(np.float64)
        return found

    def first(self, seed: int) -> dict[str, np.ndarray]:
        """Of the first case: the user's own arrays where he gave any."""
        reals = {name: x.astype(np.float64) if x.dtype.kind == "f" else x for name, x in self.own.items()}
        return {**self.draw(seed), **reals}

    def more(self, count: int, seed: int, plain: bool) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """(what is hard about it, arrays): other sizes, then hard values in turn. ``plain``: none of these."""
        styles = [*hard_values()][: 1 if plain else None]
        for n in range(4 * count):
            rng = np.random.default_rng([seed, n, 13])
            free = self.other_sizes(rng) if n % 2 else {}
            style = styles[n % len(styles)]
            yield style, self.draw(seed * 1_000_003 + n + 1, style, free)

    def other_sizes(self, rng: np.random.Generator) -> dict[str, int]:
        """Sizes of the free axes."""
        taken = {n for axes in self.axes.values() for n in axes if isinstance(n, int)}
        found: dict[str, int] = {}
        for name in self.sizes:
            found[name] = int(rng.choice([n for n in FEW if n == 1 or n not in taken]))
            taken.add(found[name])
        return found


def given_by(inputs: Any) -> Given:
    """What the user gives: a dict or list of arrays or of shapes, or one of them. ValueError for anything else."""
    if hasattr(inputs, "shape") or (isinstance(inputs, tuple) and all(isinstance(n, int) for n in inputs)):
        inputs = [inputs]
    if not isinstance(inputs, Mapping):
        inputs = dict(zip(NAMES, inputs, strict=False))
    axes: dict[str, tuple[int | str, ...]] = {}
    own: dict[str, np.ndarray] = {}
    for name, x in inputs.items():
        if isinstance(x, tuple | list) and x and all(isinstance(n, int) for n in x):
            axes[name] = tuple(x)
        elif hasattr(x, "shape"):
            own[name] = np.asarray(x)
            axes[name] = own[name].shape
        else:
            raise ValueError(f"inputs are arrays of NumPy, or shapes such as (2, 5, 12); {name} is {x!r}")
    if not axes:
        raise ValueError("inputs= names no input")
    return Given(axes, own=own)


def guesses(sizes: Sequence[Sizes], shapes: Sequence[tuple[int | None, ...]], count: int) -> Iterator[Given]:
    """Inputs that both layers may take, by what they hold. ``shapes``: that a layer says; ``count``: of inputs."""
    widths = common(sizes)
    taken = {n for one in sizes for _, n in one.numbers} | {n for one in sizes for shape in one.shapes for n in shape}
    free = [n for n in PRIMES if all(size % n for size in taken if size)] + [31, 37, 41, 43]
    lengths = [n for one in sizes for name, n in one.numbers if any(x in name for x in LENGTHS) and 1 < n <= 512]
    for shape in shapes:
        names = ["b", "t", "s", "u"] if len(shape) < 4 else ["b", "H", "W", "u", "D"]
        axes = tuple(n if n else names[i] for i, n in enumerate(shape))
        labels = {n for n in axes if isinstance(n, str)}
        yield Given({"x": axes}, {n: free[i] for i, n in enumerate(names) if n in labels})
    image = any(len(shape) == 4 for one in sizes for shape in one.shapes)
    for rank in (4, 3, 2) if image else (3, 4, 2):
        for width in colours(widths) if rank == 4 else widths:
            yield from of_rank(rank, width, free, count, lengths)
    if count == 2:
        for width, other in product(widths, widths):
            if width != other:
                yield Given(
                    {"x": ("b", "t", width), "y": ("b", "s", other)}, {"b": free[0], "t": free[1], "s": free[2]}
                )
    yield Given({"x": ("b", "t")}, {"b": free[0], "t": free[1]}, frozenset({"x"}))


def common(sizes: Sequence[Sizes]) -> list[int]:
    """Widths that both hold, then those of either."""
    each = [[n for n in one.widths() if n > 1] for one in sizes]
    both = [n for n in each[0] if n in each[1]]
    mixed = [n for pair in zip_longest(*each) for n in pair if n]
    return list(dict.fromkeys([*both, *mixed]))[:WIDTHS] or [WIDTH]


def colours(widths: Sequence[int]) -> list[int]:
    """Widths of maps: those of an image as well."""
    return list(dict.fromkeys([*widths, 3]))


def of_rank(rank: int, width: int, free: Sequence[int], count: int, lengths: Sequence[int]) -> Iterator[Given]:
    """Inputs of that rank and width."""
    names = NAMES[:count]
    if rank == 2:
        yield Given(dict.fromkeys(names, ("b", width)), {"b": free[1]})
    elif rank == 4:
        for height, wide in ((free[1], free[2]), (8, 16), (7, 7), (14, 14)):
            yield Given(dict.fromkeys(names, ("b", "H", "W", width)), {"b": free[0], "H": height, "W": wide})
    else:
        if count > 1:  # keys of their own length
            axes: dict[str, tuple[int | str, ...]] = dict.fromkeys(names, ("b", "s", width))
            yield Given({**axes, names[0]: ("b", "t", width)}, {"b": free[0], "t": free[1], "s": free[2]})
        for length in dict.fromkeys([free[1], *lengths[:4]]):
            yield Given(dict.fromkeys(names, ("b", "t", width)), {"b": free[0], "t": length})


def counts(a: Any, b: Any) -> list[int]:
    """How many inputs the two may share, the fewest first."""
    asked = [
        max(sum(not hides(name) and name not in fresh(function_of(layer)) for name in required(layer)), 1)
        for layer in (a, b)
    ]
    return sorted(set(asked))


def ways_to_give(layer: Any, inputs: Inputs, last: bool) -> Iterator[tuple[str, Call]]:
    """(how it is said, call): the ways to give a layer these inputs."""
    names = list(inputs)
    known = arguments_of(layer, every=True)
    orders: list[tuple[str, ...]] = []
    if (letters := by_letter(layer, names)) is not None:
        orders.append(letters)
    made = fresh(function_of(layer))
    asked = [name for name in required(layer) if not hides(name) and name not in made]
    count = max(len(asked), len(names)) if len(asked) > 1 else 1
    orders.append(tuple(names[min(i, len(names) - 1)] for i in range(count)))
    rest = {name: New(made[name]) if name in made else None for name in required(layer) if name not in asked}
    by_name = set(names) <= set(known) and len(names) > 1
    for (title, layout), order in product(layouts_of(inputs[names[0]].ndim, last), dict.fromkeys(orders)):
        if by_name:
            said = ", ".join(f"{name}={name}" for name in names)
            yield f"layer({said}){title}", Named(names, layout)
        call = InTurn(order, layout)
        yield f"layer({', '.join(order)}){title}", Always(call, rest) if rest else call


def by_letter(layer: Any, names: Sequence[str]) -> tuple[str, ...] | None:
    """The inputs in the order of a layer's queries, keys and values, by the names of its first arguments."""
    asked = [name[:1].lower() for name in arguments_of(layer)[:3]]
    if sorted(asked) != ["k", "q", "v"] or len(required(layer)) < 3:
        return None
    places = {"q": 0, "k": min(1, len(names) - 1), "v": min(2, len(names) - 1)}
    return tuple(names[places[letter]] for letter in asked)


def layouts_of(rank: int, last: bool) -> list[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """(how it is said, layout) that inputs of that rank may have."""
    found: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [("", lambda x: x)]
    if rank > 2:
        first = ", channels first", lambda x: np.moveaxis(x, -1, 1) if x.ndim == rank else x
        found.insert(0 if rank > 3 and not last else 1, first)
    if rank == 3:
        found.append((", batch second", lambda x: np.swapaxes(x, 0, 1) if x.ndim == rank else x))
    return found


@dataclass(frozen=True)
class InTurn:
    """Inputs by position."""

    names: Sequence[str]
    layout: Callable[[np.ndarray], np.ndarray]

    def __call__(self, inputs: Inputs) -> tuple[Sequence[Any], Mapping[str, Any]]:
        return [laid_out(inputs[name], self.layout) for name in self.names], {}


@dataclass(frozen=True)
class Named:
    """Inputs by name."""

    names: Sequence[str]
    layout: Callable[[np.ndarray], np.ndarray]

    def __call__(self, inputs: Inputs) -> tuple[Sequence[Any], Mapping[str, Any]]:
        return [], {name: laid_out(inputs[name], self.layout) for name in self.names}


def laid_out(x: np.ndarray, layout: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Reals in a layout; masks and ids as they are."""
    return layout(x) if x.dtype.kind == "f" else x
