"""The check: blocks × engines × dtypes, one worker process per engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from multiprocessing import get_context
from types import ModuleType
from typing import Any

from attn_ref.backend import Backend, MissingBackend, backend, backends
from attn_ref.block import Block
from attn_ref.catalogue import block as find_block
from attn_ref.catalogue import blocks as all_blocks
from attn_ref.check import distribution
from attn_ref.check.adjoint import compare_gradients, trains
from attn_ref.check.cases import Case, cases
from attn_ref.check.compare import Outcome, compare
from attn_ref.check.gaps import gaps_for
from attn_ref.check.report import Report, Row, environment
from attn_ref.check.shrink import shrink_rows
from attn_ref.check.tolerance import LIMIT

MODES = ("forward", "gradient", "training")
DTYPES = tuple(LIMIT)
CHUNK = 10
#: so many cases are drawn from the number of shapes that ``Backend.shapes`` gives, and more in proportion
SHARED = 64

#: called with (cases done, cases in all, the row's title)
Progress = Callable[[int, int, str], None]


def run(
    blocks: Sequence[str | type[Block]],
    engines: Sequence[str] | None,
    dtypes: Sequence[str],
    modes: Sequence[str],
    cases: int,
    seed: int,
    executor: Callable[[str], Executor] | str,
    progress: Progress | None,
) -> Report:
    """See ``attn_ref.check.check``."""
    if strange := [b for b in blocks if not isinstance(b, str) and not (isinstance(b, type) and issubclass(b, Block))]:
        raise ValueError(f"a check takes names of blocks or their classes, such as 'FeedForward'; got {strange[0]!r}")
    chosen = list(dict.fromkeys(find_block(b) if isinstance(b, str) else b for b in blocks or all_blocks().values()))
    known("dtype", dtypes, DTYPES)
    known("mode", modes, MODES)
    for name, number, least in (("cases", cases, 1), ("seed", seed, 0)):
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name} should be a whole number, at least {least}; got {number!r}")
    if not (asked := chosen_engines(engines)):
        raise MissingBackend("no engine is installed; pip install 'attn_ref[torch]' or 'attn_ref[keras]'")
    for engine in asked:
        require(engine)
    rows = [Row(c.__name__, e, m, d) for c in chosen for e in asked for m in modes for d in dtypes]
    with ExitStack() as stack:
        executors = {engine: stack.enter_context(_executor(executor, engine)) for engine in asked}
        _run(rows, chosen, cases, seed, executors, progress or (lambda *_: None))
        found = {engine: executors[engine].submit(fingerprint, engine).result() for engine in asked}
    in_force = {
        gap.id: asdict(gap) for row in rows for gap in gaps_for(row.engine, row.dtype) if gap.id in row.known_gaps
    }
    return Report(rows, list(in_force.values()), {**environment(), "engines": found}, {d: LIMIT[d] for d in dtypes})


def chosen_engines(engines: Iterable[str] | None) -> list[str]:
    """The engines asked for; "all": every installed one; None: those without what a backend runs on request only."""
    installed = [engine for engine, cls in backends().items() if cls.version(engine)]
    if engines is None:
        return [engine for engine in installed if engine not in backends()[engine].on_request]
    return list(dict.fromkeys(e for engine in engines for e in (installed if engine == "all" else [engine])))


def known(what: str, given: Iterable[str], names: Iterable[str]) -> None:
    """ValueError if one of ``given`` is none of ``names``."""
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"unknown {what} {', '.join(unknown)}; the {what}s are {', '.join(names)}")


def require(engine: str) -> type[Backend]:
    """The engine's backend class. ValueError for an unknown engine, MissingBackend if it is not installed."""
    served = backends()
    if engine not in served or served[engine].version(engine) is None:
        backend(engine)  # raises the error that says so
    return served[engine]


def _run(
    rows: list[Row],
    chosen: Iterable[type[Block]],
    count: int,
    seed: int,
    executors: dict[str, Executor],
    progress: Progress,
) -> None:
    classes = {cls.__name__: cls for cls in chosen}
    waiting: dict[Future[list[Outcome]], Row] = {}
    for row in rows:
        if not backends()[row.engine].mirrors(row.block):
            row.skipped, row.note = count, f"no mirror in {backends()[row.engine].__module__}"
            continue
        texts = [
            case.within(row.dtype).to_json() for case in drawn(classes[row.block], row.engine, row.mode, count, seed)
        ]
        for start in range(0, count, CHUNK):
            future = executors[row.engine].submit(work, row.engine, row.mode, row.dtype, texts[start : start + CHUNK])
            waiting[future] = row
    total, done = sum(count for row in rows if not row.skipped), 0
    for future in as_completed(waiting):
        row, outcomes = waiting[future], future.result()
        enter(row, outcomes)
        done += len(outcomes)
        progress(done, total, f"{row.block} · {row.engine} · {row.mode} · {row.dtype}")
    shrink_rows(
        rows,
        lambda row, case: executors[row.engine].submit(work, row.engine, row.mode, row.dtype, [case]).result()[0],
        lambda title: progress(done, total, title),
    )


def drawn(cls: type[Block], engine: str, mode: str, count: int, seed: int) -> list[Case]:
    """The cases of one row: on an engine that compiles they share few shapes; in training it matters to all."""
    served = backends()[engine]
    shapes = served.shapes[engine] * max(count, SHARED) // SHARED if engine in served.shapes else None
    vary = mode == "forward" and engine in served.op_by_op
    return cases(cls, count, seed, shapes, vary=vary, wanted=trains if mode == "training" else None)


def work(engine: str, mode: str, dtype: str, texts: list[str]) -> list[Outcome]:
    """What a worker does: some cases on its engine."""
    return [one(engine, mode, dtype, Case.from_json(text)) for text in texts]


def fingerprint(engine: str) -> dict[str, Any]:
    """What the engine says of itself in its worker."""
    return backend(engine).fingerprint()


def one(engine: str, mode: str, dtype: str, case: Case) -> Outcome:
    """One case, here and now."""
    served, gaps = backend(engine), gaps_for(engine, dtype)
    if mode == "forward":
        return compare(served, case, dtype, gaps)
    return compare_gradients(served, case, dtype, gaps, training=mode == "training")


def enter(row: Row, outcomes: Iterable[Outcome]) -> None:
    """Add outcomes to a row: the worst figure, and of those that differ the smallest case."""
    for outcome in outcomes:
        row.cases += 1
        row.forward_only += outcome.kink
        row.known_gaps = sorted({*row.known_gaps, *outcome.gaps})
        distribution.count(row.distribution, outcome.worst)
        if outcome.worst > row.worst:
            row.worst, row.worst_at = outcome.worst, outcome.worst_at
        if outcome.first is None:
            continue
        row.failures += 1
        row.offer(outcome)


@contextmanager
def _executor(kind: Callable[[str], Executor] | str, engine: str) -> Iterator[Executor]:
    if callable(kind):
        yield kind(engine)
    elif kind == "inline":
        yield Inline()
    elif kind == "processes":
        # one thread each: the arrays are small, and several engines share the machine
        with _environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1"):
            pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_start, initargs=(engine,))
            with pool:
                with _without_main():
                    pool.submit(_ready)  # starts the process
                yield pool
    else:
        raise ValueError(f"unknown executor {kind!r}; it is 'processes', 'inline' or a function engine -> executor")


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ready() -> None:
    """A first task: the pool starts its process for it."""


@contextmanager
def _without_main() -> Iterator[None]:
    """A process that starts meanwhile does not run the caller's script again, which need not expect it."""
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def _start(engine: str) -> None:
    """In a new worker: take the engine before anything else imports a framework."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend(engine)


class Inline(Executor):
    """Runs a task where it is submitted: for debuggers."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future
