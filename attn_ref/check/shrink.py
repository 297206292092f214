"""Making a case that differs smaller and plainer, for as long as it differs in the same way.

A report tells a difference by one case. Drawn at random it has options on that have nothing to do with the fault; here
each is put back to its default, each input that may be left out is, sizes go down and values become plain, one after
the other, and what still differs at the same tap (or, where the difference is at no tap, by the same fault) is kept.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from attn_ref.block import Block
from attn_ref.catalogue import block as find_block
from attn_ref.check.cases import STYLES, Case, Shaped
from attn_ref.check.judge import Outcome
from attn_ref.inputs import bind, resolve

if TYPE_CHECKING:
    from attn_ref.check.report import Row

#: the runs and the seconds that one row may take, and the seconds of all together
RUNS, SECONDS, TOTAL = 60, 20.0, 60.0
#: the rows of a block whose cases are made smaller
PER_BLOCK = 4
#: sizes to try of an axis, the batch's apart: one of 1 hides what goes wrong along it, as a softmax of one value is 1
AXES = (2, 3)
#: faults that take a worker each time, and its whole time or memory
COSTLY = ("ended", "timeout", "memory")

#: a case with one change, or ValueError where its block refuses that
Move = Callable[[Case], Case]


def shrink_rows(
    rows: Iterable[Row],
    run: Callable[[Row, str], Outcome],
    say: Callable[[str], None] = lambda title: None,
    *,
    total: float = TOTAL,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Make the cases of rows that differ smaller, while there is time: of each block those of ``PER_BLOCK`` rows.

    The first row of each engine comes before the others. ``run`` takes a row and a case as JSON; ``say`` is told what
    is being done.
    """
    end, done = clock() + total, Counter[str]()
    for row in in_turn(row for row in rows if not row.ok and row.case is not None):
        seconds = min(SECONDS, end - clock())
        if row.fault in COSTLY:
            row.shrunk = "as it was drawn, since each try would take as much again"
        elif done[row.block] == PER_BLOCK:
            row.shrunk = f"as it was drawn: of each block, {PER_BLOCK} rows get a smaller one"
        elif seconds <= 0:
            row.shrunk = f"as it was drawn: other rows took the {total:g} s that there are for smaller ones"
        else:
            done[row.block] += 1
            say(f"a smaller case · {row.block} · {row.engine}")
            shrink_row(row, partial(run, row), seconds, clock)


def in_turn(rows: Iterable[Row]) -> list[Row]:
    """The first row of each block on each engine, then the second …"""
    seen = Counter[tuple[str, str]]()
    turns: list[tuple[int, Row]] = []
    for row in rows:
        turns.append((seen[row.block, row.engine], row))
        seen[row.block, row.engine] += 1
    return [row for _, row in sorted(turns, key=lambda item: item[0])]


def shrink_row(row: Row, run: Callable[[str], Outcome], seconds: float, clock: Callable[[], float]) -> None:
    """Make the case of one row smaller."""

    def fails(case: Case) -> Outcome:
        return run(case.to_json())

    shrinker = Shrinker(Case.from_json(str(row.case)), row.first_divergence, row.fault, row.detail, fails)
    row.shrunk = shrinker.run(RUNS, seconds, clock)
    if shrinker.best is not None:
        row.take(shrinker.best)


class Shrinker:
    """The smallest case so far, and what is tried."""

    def __init__(self, case: Case, tap: str | None, fault: str, detail: str, fails: Callable[[Case], Outcome]) -> None:
        self.case, self.fails, self.runs = case, fails, 0
        self.wanted = (tap, fault, kind(fault, detail))
        #: what came of the smallest case; None as long as that is the one given
        self.best: Outcome | None = None
        self.tried = {case.to_json()}

    def run(self, runs: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> str:
        """Try, until nothing more can be taken away or the runs or seconds are used up. Says how it ended."""
        end, before, why = clock() + seconds, None, ""
        try:
            while before != self.case and not why:
                before = self.case
                for move in moves(self.case):
                    if self.runs >= runs or clock() >= end:
                        why = ", all that it has" if self.runs >= runs else ", until its time was up"
                        break
                    self.attempt(move)
        except Exception as error:  # an engine or executor that is beyond use; the report is worth more than this
            why = f", until {type(error).__name__}"
        tries = f"{self.runs} {'try' if self.runs == 1 else 'tries'}{why}"
        return f"as it was drawn, after {tries}" if self.best is None else f"made smaller in {tries}"

    def attempt(self, move: Move) -> None:
        """Run the case with one change, and keep it if it differs in the same way."""
        try:
            case = Case.from_json(move(self.case).to_json())
            text = case.to_json()
            if text in self.tried:
                return
            self.tried.add(text)
            self.runs += 1
            outcome = self.fails(case)
        except (ValueError, ArithmeticError):  # no case of this block
            return
        found = (outcome.tap, outcome.fault, kind(outcome.fault, outcome.detail))
        # a second call of the layer may find the fault in yet another case, which is not this one
        if outcome.first is not None and found == self.wanted and Case.from_json(outcome.case) == case:
            self.case, self.best = case, outcome


def kind(fault: str, detail: str) -> str:
    """What must stay the same of a fault at no tap: the kind of the error, whatever it says."""
    return detail.partition(":")[0] if fault == "raised" else ""


# the moves ------------------------------------------------------------------------------------------------------------


def moves(case: Case) -> Iterator[Move]:
    """What may be tried, what makes a case plainest first."""
    block = find_block(case.block)
    defaults: dict[str, Any] = {f.name: f.default for f in fields(block) if f.default is not MISSING}
    if case.empty():
        yield partial(resized, label="b", size=1)
    options = [name for name, value in case.fields.items() if name in defaults and value != defaults[name]]
    optional = [name for name in case.shapes if block.inputs[name].optional or block.inputs[name].default]
    yield partial(changed, fields={name: defaults[name] for name in options}, without=optional)
    yield partial(changed, fields={name: defaults[name] for name in options})
    yield partial(changed, without=optional)
    for name in options:
        yield partial(changed, fields={name: defaults[name]})
    for name in optional:
        yield partial(changed, without=[name])
    for path, default in within(block, case.fields):
        yield partial(changed, fields={path: default})
    for label in labels(case):
        for size in (1, *AXES) if label == "b" else AXES:
            yield partial(resized, label=label, size=size)
    for name, value in case.fields.items():
        if type(value) is int:
            for size in (1, 2, 3, 4):
                yield partial(smaller, field=name, size=size, default=defaults.get(name))
    for now in sorted(numbers(case.fields), reverse=True) if any(type(x) is dict for x in case.fields.values()) else ():
        for size in (1, 2, 3, 4, 8):
            yield partial(together, now=now, size=size)
    yield partial(plain, names=list(case.shapes))
    for name in case.shapes:
        yield partial(plain, names=[name])
        if block.inputs[name].broadcast:
            for axis in range(len(case.shapes[name])):
                yield partial(flat, name=name, axis=axis)
    yield seedless


def within(cls: type[Block], told: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """("attention.causal", its default) of every option that is not at it, of the blocks among the options."""
    for name, value in told.items():
        if not isinstance(value, dict):
            continue
        part = find_block(value["block"])
        for field in fields(part):
            if field.default is not MISSING and value["fields"].get(field.name, field.default) != field.default:
                yield f"{before}{name}.{field.name}", field.default
        yield from within(part, value["fields"], f"{before}{name}.")


def numbers(told: dict[str, Any]) -> set[int]:
    """The whole numbers among the options, those of blocks among them too."""
    inner = [numbers(value["fields"]) for value in told.values() if isinstance(value, dict)]
    return {value for value in told.values() if type(value) is int}.union(*inner)


def together(case: Case, *, now: int, size: int) -> Case:
    """With another number wherever a number stands, since blocks that hold others share their widths."""

    def put(told: dict[str, Any]) -> dict[str, Any]:
        return {name: put(x) if isinstance(x, dict) else size if type(x) is int and x == now else x
                for name, x in told.items()}  # fmt: skip

    return changed(case, fields=put(case.fields)) if now > size else case


def changed(
    case: Case, fields: dict[str, Any] | None = None, without: Iterable[str] = (), sizes: dict[str, int] | None = None
) -> Case:
    """The case with other options, fewer inputs or other sizes; the shapes follow. ValueError if the block refuses."""
    cls = find_block(case.block)
    new = cls.build({**case.fields, **(fields or {})})
    dims = bind(cls.build(case.fields), shaped(case)) | (sizes or {})
    shapes = {name: shape for name, shape in case.shapes.items() if name not in without and name in new.inputs}
    for name, spec in new.inputs.items():  # an input that is left out has the sizes of the one in its place
        if spec.default and name not in shapes:
            pairs = zip(spec.axes, new.inputs[spec.default].axes, strict=True)
            dims |= {a: dims[b] for a, b in pairs if a != b and a in dims and b in dims}
    for name, shape in shapes.items():
        axes = new.inputs[name].axes
        sized = [resolve(new, axis, dims) for axis in axes[len(axes) - len(shape) :]]
        keep = new.inputs[name].broadcast
        shapes[name] = tuple(
            old if size is None or (keep and old == 1) else size for old, size in zip(shape, sized, strict=True)
        )
    styles = {name: case.styles[name] for name in shapes}
    made = replace(case, fields=new.as_data()["fields"] if fields else case.fields, shapes=shapes, styles=styles)
    bind(new, shaped(made))
    return made


def shaped(case: Case) -> dict[str, Shaped]:
    """The inputs, as far as ``bind`` looks at them."""
    declared = find_block(case.block).inputs
    return {name: Shaped(shape, declared[name].kind) for name, shape in case.shapes.items()}


def labels(case: Case) -> list[str]:
    """The axes whose sizes are free."""
    return list(bind(case.build(), shaped(case)))


def resized(case: Case, *, label: str, size: int) -> Case:
    """With one axis of that size, if it is larger now or empty."""
    now = bind(case.build(), shaped(case)).get(label, size)
    return changed(case, sizes={label: size}) if now == 0 or now > size else case


def smaller(case: Case, *, field: str, size: int, default: Any) -> Case:
    """With a field of that size, if it is larger now and not at its default, which is the plainest there is."""
    now = case.fields[field]
    return changed(case, fields={field: size}) if now is not None and now != default and now > size else case


def plain(case: Case, *, names: Iterable[str]) -> Case:
    """With the plainest values of these inputs."""
    declared = find_block(case.block).inputs
    found = {name: STYLES[declared[name].kind][0] for name in names if name in case.shapes}
    return replace(case, styles={**case.styles, **found})


def flat(case: Case, *, name: str, axis: int) -> Case:
    """With 1 for an axis along which an input may be the same."""
    shape = list(case.shapes.get(name, ()))
    if axis < len(shape):
        shape[axis] = 1
    made = replace(case, shapes={**case.shapes, name: tuple(shape)}) if name in case.shapes else case
    bind(made.build(), shaped(made))
    return made


def seedless(case: Case) -> Case:
    """With seed 0."""
    return replace(case, seed=0)
