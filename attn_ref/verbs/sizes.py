"""What a layer that nobody described holds: whole numbers by name, and the shapes of its arrays."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Any

#: objects that are looked into, and numbers of each kind that are tried
MOST, FEW = 4000, 5
#: parts of names of a width
WIDE = ("width", "dim", "channel", "size")


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
        named = [n for name, n in self.numbers if n > 1 and any(w in name for w in (*WIDE, "embed"))]
        return list(dict.fromkeys([*(size for size, _ in counted.most_common()), *named]))

    def heads(self) -> list[int]:
        """Numbers that are called heads, those that go with what is called their width, then any small one."""
        named = [n for name, n in self.numbers if "head" in name and not any(w in name for w in WIDE)]
        split = [n // d for d in self.head_widths() for n in self.widths() if n % d == 0]
        small = [n for _, n in self.numbers if 1 < n <= 64]
        others = [size for shape in self.shapes for size in shape]
        return list(dict.fromkeys(n for n in (*named, *split, *small, *others, 1, 2, 4, 8, 3) if n > 0))

    def head_widths(self) -> list[int]:
        """Numbers that are called the width of a head."""
        return [n for name, n in self.numbers if n > 0 and "head" in name and any(w in name for w in WIDE)]

    def called(self, option: str) -> list[int]:
        """Numbers that an option may be: those whose names share a word with its own first, then sizes of axes."""
        words = {word.rstrip("s") for word in option.split("_")} - {"num", "width"}
        named = [n for name, n in self.numbers if n > 0 and any(word in name for word in words)]
        ones = [1] if "head" in option else []
        return list(dict.fromkeys([*named[:FEW], *ones, *self.heads()[:FEW], *self.widths()[: 2 * FEW]]))

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
