"""What a layer computed while it was traced: the value of every operation, and the line of whose file caused it."""

from __future__ import annotations

import linecache
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from attn_ref.weights import uniform

#: files below these folders are of a framework or of this project, and cause nothing by themselves
INNER = (
    "optree",
    "torch",
    "keras",
    "tensorflow",
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "flax",
    "einops",
    "attn_ref",
    "attn_ref_torch",
    "attn_ref_keras",
    "attn_ref_jax",
)


@dataclass(frozen=True)
class Line:
    """A line of a file."""

    file: str
    number: int
    function: str = ""

    @property
    def code(self) -> str:
        """Its text."""
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"

    @property
    def short(self) -> str:
        """The same, from the working folder where the file lies below it."""
        here = Path.cwd()
        file = Path(self.file)
        return f"{file.relative_to(here) if file.is_relative_to(here) else file}:{self.number}"


@dataclass
class Record:
    """A value, the operation that gave it, and the line that asked for the operation."""

    #: by which values are in order
    number: float
    operation: str
    value: np.ndarray
    line: Line | None


@dataclass
class Faint(Record):
    """A record without its value, which was too large to keep: only its shape and some sums of it are known."""

    shape: tuple[int, ...]
    sums: tuple[float, ...]


@dataclass
class Trace:
    """All that was recorded, in order, and what came out."""

    records: list[Record]
    output: Any
    #: names of parameters that no operation took
    unused: list[str] = field(default_factory=list)
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    #: was a value of less than float64 among them?
    narrow: bool = False
    #: what else was seen
    notes: list[str] = field(default_factory=list)
    #: the values that were not kept
    faint: list[Faint] = field(default_factory=list)
    #: number of a record -> those of the records that its operation took, where that was asked for
    parents: dict[float, frozenset[int]] = field(default_factory=dict)
    #: number of a record -> the layer inside that computed it, where values were followed and that is known
    layers: dict[float, str] = field(default_factory=dict)


#: by how much parameters of one number all over are moved, all alike; None: each by other numbers
_by: float | None = None


@contextmanager
def moving(by: float) -> Iterator[None]:
    """While it lasts, a parameter of one number all over is moved by that, whatever its name and its layout."""
    global _by
    before, _by = _by, by
    try:
        yield
    finally:
        _by = before


def stirred(name: str, value: np.ndarray) -> np.ndarray | None:
    """A parameter whose numbers are all one, moved by at most 0.5 each; None for any other.

    A bias of zeros, a scale of ones or a gate of zero hides what is wrong with it, or all that is behind it.
    """
    if value.size == 0 or np.any(value != value.flat[0]):
        return None
    if _by is not None:
        return np.asarray(value + _by) if _by else None
    return np.asarray(value + 0.5 * uniform(value.shape, "stirred", name))


def leaves(x: Any, top: bool = True) -> Iterator[Any]:
    """What stands in nested tuples, lists, dicts and dataclasses, and in the attributes of an object ``x`` itself."""
    if isinstance(x, dict):
        parts: Iterable[Any] = x.values()
    elif isinstance(x, tuple | list):
        parts = x
    elif is_dataclass(x) and not isinstance(x, type):
        parts = [getattr(x, one.name, None) for one in fields(x)]
    elif top and hasattr(x, "__dict__") and not hasattr(x, "dtype"):
        parts = vars(x).values()
    else:
        yield x
        return
    for part in parts:
        yield from leaves(part, False)


def users_line(frame: FrameType | None, home: Collection[str] = ()) -> Line | None:
    """The line of the user's on the stack, as ``users`` has it."""
    return users(stack(frame), home)


def stack(frame: FrameType | None) -> Iterator[Line]:
    """The lines on the stack, the innermost first."""
    while frame is not None:
        yield Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back


def users(lines: Iterable[Line], home: Collection[str] = (), until: str = "trace") -> Line | None:
    """The innermost of ``lines`` that is in nobody's framework, below the call of the function ``until``.

    Where there is none, the layer is a framework's own: then the innermost line in one of its files ``home``.
    """
    own = None
    for line in lines:
        if line.function == until and inner(line.file):
            break
        if not inner(line.file):
            return line
        if own is None and line.file in home:
            own = line
    return own


@lru_cache(maxsize=4096)
def inner(file: str) -> bool:
    """Is a file one of a framework's or of ours? Text that was executed has no file, and neither has the library."""
    if file.startswith("<"):
        return True
    parts: Sequence[str] = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py") in INNER
    return any(file.startswith(root) for root in ROOTS)


def roots() -> tuple[str, ...]:
    """Where this project and Python's own library lie."""
    import attn_ref

    own = Path(attn_ref.__file__).parent
    found = [str(own), str(Path(linecache.__file__).parent)]
    found += [str(folder) for folder in (own.parent / "backends", *own.parent.glob("attn_ref_*")) if folder.is_dir()]
    return tuple(found)


ROOTS = roots()
