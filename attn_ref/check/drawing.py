"""Which rows a check has, and which cases each of them runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from attn_ref.block import Block
from attn_ref.catalogue import is_model
from attn_ref.check.adjoint import trains
from attn_ref.check.cases import Case, cases
from attn_ref.check.covering import coverage, few_of, planned
from attn_ref.check.fitting import able
from attn_ref.check.large import extreme_cases, large_cases
from attn_ref.check.tolerance import LIMIT
from attn_ref.engines import served

if TYPE_CHECKING:
    from attn_ref.check.report import Row

MODES = ("forward", "gradient", "training")
DTYPES = tuple(LIMIT)
#: so many cases are drawn from the number of shapes that ``Backend.shapes`` gives; more and fewer in proportion, but no
#: less than half of the shapes
SHARED = 64
#: cases of a row, unless it takes more to cover what can occur together
ORDINARY = 50
#: the same of an engine that compiles anew for every shape, in a check that names neither mode nor dtype
COMPILED = 14
#: of gradients one case in so many has extreme values
EXTREME = 3
#: the same of gradients of a layer of another library
FEW = 10
#: what a check that names neither mode nor dtype does besides: (mode, dtype, cases)
BESIDE = (
    ("gradient", "float64", 10), ("training", "float64", 10),
    ("forward", "float32", 8), ("forward", "bfloat16", 8), ("forward", "float16", 8),
)  # fmt: skip
#: of a model one in so many of these: it is made of blocks, which have their own cases, and each of its takes long
OF_A_MODEL = 4


def kinds(
    engine: str, modes: Sequence[str] | None, dtypes: Sequence[str] | None, cases: int | None, *, model: bool = False
) -> list[tuple[str, str, int | None]]:
    """(mode, dtype, how many cases) of an engine's rows for a block or a ``model``; None: as many as it takes."""
    if modes or dtypes:
        return [(mode, dtype, cases) for mode in modes or MODES[:1] for dtype in dtypes or DTYPES[:1]]
    compiles, share = engine in served(engine).shapes, OF_A_MODEL if model else 1
    main = cases or (COMPILED // share if compiles else None)
    if served(engine).peer:  # whose dropout says nothing, and whose lower precisions are its own affair
        return [(MODES[0], DTYPES[0], main), (MODES[1], DTYPES[0], few(FEW, cases))]
    beside = [kind for kind in BESIDE if not compiles or kind[1] == "float64"]
    return [
        (MODES[0], DTYPES[0], main),
        *((mode, dtype, few(1 if compiles else count // share, cases)) for mode, dtype, count in beside),
    ]


def few(count: int, cases: int | None) -> int:
    """How many cases a row beside the main one has, fewer where fewer than ``ORDINARY`` are asked for."""
    return count if cases is None else max(1, min(count, count * cases // ORDINARY))


def drawn(cls: type[Block], engine: str, mode: str, count: int, seed: int, *, low: bool = False) -> list[Case]:
    """The cases of one row: first those that cover what can occur together, then random ones.

    ``low``: of a row in a low precision, which is short: half of its cases are large ones.
    An engine that compiles a block whole runs random ones of few shapes. In training it matters to most.
    """
    backend = served(engine)
    if engine in backend.shapes:
        shapes = max(1, backend.shapes[engine] * max(count, SHARED // 2) // SHARED)
        vary = mode == "forward" and engine in backend.op_by_op
        return cases(cls, count, seed, shapes, vary=vary, wanted=trains if mode == "training" else None)
    if backend.peer:
        return able(cls, backend.peer, count, seed)
    if mode == "forward" and low and count < len(planned(cls)):
        large = list(large_cases(cls))[: count // 2]
        first: Iterable[Case] = [*few_of(cls, count - len(large)), *large]
    elif mode == "forward":
        first = planned(cls)
    elif mode == "gradient":
        extreme = list(islice(extreme_cases(cls), max(1, count // EXTREME)))
        first = [*few_of(cls, count - len(extreme)), *extreme]
    else:
        first = few_of(cls, count - count // 4, trains)
        first += [case for case in few_of(cls, count) if case not in first][: count // 4]
    found = [replace(case, seed=seed * 1_000_003 + n) for n, case in enumerate(islice(first, count))]
    more = cases(cls, count, seed, wanted=trains if mode == "training" else None) if len(found) < count else []
    return found + more[len(found) :]


def low(row: Row) -> bool:
    """Is it a row of a lower precision than the one that decides meaning?"""
    return row.dtype != DTYPES[0]


class Draw:
    """The cases of a row as texts; what several engines or dtypes run is drawn once."""

    def __init__(self, classes: dict[str, type[Block]], seed: int) -> None:
        self.classes, self.seed = classes, seed
        self.kept: dict[Any, list[Case]] = {}
        self.met: dict[Any, tuple[int, int]] = {}

    def all(self, row: Row) -> int:
        """How many cases it takes to cover what can occur together; of a block ``ORDINARY`` where that is less.

        A model is made of blocks, which have their own cases, and each of its cases takes long.
        """
        cls = self.classes[row.block]
        if row.engine in served(row.engine).shapes or row.mode != "forward":
            return ORDINARY
        return len(planned(cls)) if is_model(cls) else max(ORDINARY, len(planned(cls)))

    def key(self, row: Row) -> tuple[Any, ...]:
        """On what the cases of a row depend."""
        backend = served(row.engine)
        alike = (backend.shapes.get(row.engine), row.engine in backend.op_by_op, backend.peer and backend.peer.name)
        return (row.block, *alike, row.mode, row.asked, low(row))

    def __call__(self, row: Row) -> list[str]:
        key = self.key(row)
        if key not in self.kept:
            self.kept[key] = drawn(self.classes[row.block], row.engine, row.mode, row.asked, self.seed, low=low(row))
        found = self.kept[key]
        if served(row.engine).peer:  # there may be fewer that it must compute
            row.asked = len(found)
            self.kept[self.key(row)] = found
        return [case.within(row.dtype).to_json() for case in found]

    def pairs(self, row: Row) -> tuple[int, int]:
        """(pairs of option values, inputs and styles that the cases of a row have, those that can occur together)."""
        if not row.cases:
            return 0, 0
        key = (*self.key(row), row.cases)
        if key not in self.met:
            self.met[key] = coverage(self.classes[row.block], self.kept[self.key(row)][: row.cases])
        return self.met[key]
