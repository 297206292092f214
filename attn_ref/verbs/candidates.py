"""Which blocks a layer that nobody described may be: their sizes are those that it holds, as numbers and as shapes."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import product
from math import prod
from typing import Any

from attn_ref.block import Block
from attn_ref.catalogue import blocks, is_model
from attn_ref.option import options
from attn_ref.trace.options import alternatives, rebuilt

#: objects that are looked into, numbers of each kind that are tried, and blocks of each class
MOST, FEW, EACH = 4000, 5, 8
#: by how much the numbers of a block may be more, or fewer, than those of the layer
ALIKE = 3.0
#: options that act in training alone, and so are not seen
TRAINING = ("dropout", "attention_dropout", "momentum", "unbiased")
#: a width where a layer holds none yet: it is made when it is called
WIDTH = 12


@dataclass
class Sizes:
    """What a layer holds: whole numbers by name, and the shapes of its arrays."""

    numbers: list[tuple[str, int]] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many numbers its arrays have."""
        return sum(prod(shape) for shape in self.shapes)

    def widths(self) -> list[int]:
        """Sizes of axes, the most frequent first, then the numbers that are called so."""
        counted = Counter(size for shape in self.shapes for size in shape if size > 1)
        named = [n for name, n in self.numbers if any(w in name for w in ("width", "dim", "embed", "channel", "size"))]
        return list(dict.fromkeys([*(size for size, _ in counted.most_common()), *named]))

    def heads(self) -> list[int]:
        """Numbers that are called heads, then any small one."""
        named = [n for name, n in self.numbers if "head" in name]
        small = [n for _, n in self.numbers if 1 < n <= 64]
        return list(dict.fromkeys([*named, *small, *(size for shape in self.shapes for size in shape), 1, 2, 4, 8, 3]))

    def patches(self) -> list[int]:
        """Sides of square kernels, and numbers that are called patch."""
        square = [shape[i] for shape in self.shapes if len(shape) == 4 for i in range(3) if shape[i] == shape[i + 1]]
        return list(dict.fromkeys([n for name, n in self.numbers if "patch" in name] + square))[:FEW]


def sizes_of(layer: Any) -> Sizes:
    """What a layer, a function or what they hold has of numbers and arrays."""
    found, queue = Sizes(), [("", layer)]
    seen: set[int] = set()
    while queue and len(seen) < MOST:
        name, x = queue.pop(0)
        if id(x) in seen:
            continue
        seen.add(id(x))
        shape = getattr(x, "shape", None)
        if isinstance(x, bool):
            continue
        if isinstance(x, int):
            found.numbers.append((name.lower(), x))
            seen.discard(id(x))
        elif shape is not None and "float" in str(getattr(x, "dtype", "")):
            try:
                found.shapes.append(tuple(int(n) for n in shape))
            except (TypeError, ValueError):
                continue
        elif isinstance(x, dict):
            queue += [(str(key), value) for key, value in x.items()]
        elif isinstance(x, list | tuple):
            queue += [(name, value) for value in x]
        elif isinstance(x, functools.partial):
            queue += [(name, [x.func, list(x.args), x.keywords])]
        elif hasattr(x, "__closure__"):
            queue += [(name, cell.cell_contents) for cell in x.__closure__ or () if held(cell)]
        elif hasattr(x, "__dict__") and not isinstance(x, type) and not type(x).__module__.startswith("builtins"):
            queue += list(vars(x).items())
    return found


def held(cell: Any) -> bool:
    """Has a cell of a closure a value?"""
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def starting(sizes: Sizes, only: str | None = None, inputs: int = 1) -> list[Block]:
    """Blocks with their sizes alone, those of each class that have nearly as many numbers. ``inputs``: it takes."""
    found: list[Block] = []
    for name, cls in blocks().items():
        if is_model(cls) or (only is not None and name != only):
            continue
        near: dict[Block, float] = {}
        for block in [*of_class(cls, sizes), *(crossing(cls, sizes) if inputs > 1 else ())]:
            own = sum(prod(param.shape) for param in block.params().values())
            ratio = (own + 1) / (sizes.total + 1) if sizes.total else 1.0
            if 1 / ALIKE <= ratio <= ALIKE:
                near.setdefault(block, abs(ratio - 1))
        found += sorted(near, key=lambda block: near[block])[:EACH]
    return found


def crossing(cls: type[Block], sizes: Sizes) -> Iterator[Block]:
    """The same with keys of another width."""
    if "key_width" not in options(cls):
        return
    for block in of_class(cls, sizes):
        for width in sizes.widths()[:FEW]:
            if width != block.fields()["width"]:
                yield rebuilt(block, "key_width", width)


def of_class(cls: type[Block], sizes: Sizes) -> Iterator[Block]:
    """The blocks of a class with sizes of the layer's."""
    widths = (sizes.widths() or [WIDTH])[:FEW]
    wanted = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    known: dict[str, list[Any]] = {
        "width": widths, "channels": widths, "output_channels": widths, "hidden_width": sizes.widths()[: FEW + 2],
        "num_heads": sizes.heads()[: FEW + 3], "patch": sizes.patches(),
    }  # fmt: skip
    if "attention" in wanted:
        yield from layers(cls, sizes)
        return
    if not set(wanted) <= set(known):
        return
    for values in product(*(known[name] for name in wanted)):
        try:
            yield cls(**dict(zip(wanted, values, strict=True)))
        except ValueError:  # of numbers that do not go together
            continue


def layers(cls: type[Block], sizes: Sizes) -> Iterator[Block]:
    """Layers of attention and a feed-forward network, with norms of either kind."""
    known = blocks()
    for attention in of_class(known["MultiHeadAttention"], sizes):
        for kind in ("FeedForward", "GatedFeedForward"):
            for network in of_class(known[kind], sizes):
                width = attention.fields()["width"]
                if network.fields()["width"] != width:
                    continue
                for norm in ("LayerNorm", "RMSNorm"):
                    for place in ("before", "after"):
                        try:
                            yield cls(
                                width=width, attention=attention, feed_forward=network, norm=known[norm](width=width),
                                norm_place=place,
                            )  # type: ignore[call-arg]  # fmt: skip
                        except ValueError:
                            continue


def nearby(block: Block, sizes: Sizes) -> Iterator[Block]:
    """The block with one option changed: to what it may be, or to a number of the layer's."""
    numbers = list(dict.fromkeys([*sizes.heads()[:FEW], *sizes.widths()[:FEW]]))
    changes = [*alternatives(block), *whole(block, numbers)]
    for name, value in dict.fromkeys(changes):
        if name.rpartition(".")[2] in TRAINING:
            continue
        try:
            yield rebuilt(block, name, value)
        except (ValueError, TypeError):  # of options that do not go together
            continue


def whole(block: Block, numbers: list[int], before: str = "") -> Iterator[tuple[str, Any]]:
    """(option, number) of the options that are whole numbers, of the block and of those inside."""
    told: Mapping[str, Any] = options(type(block))
    for one in fields(block):
        now = getattr(block, one.name)
        if isinstance(now, Block):
            yield from whole(now, numbers, f"{before}{one.name}.")
        elif one.name in told and "int" in told[one.name][1]:
            yield from ((f"{before}{one.name}", n) for n in numbers if n != now)
