"""The check: blocks × engines × modes × dtypes, one worker process per engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from typing import Any

from attn_ref.backend import Backend
from attn_ref.block import Block
from attn_ref.catalogue import block as find_block
from attn_ref.catalogue import blocks as all_blocks
from attn_ref.catalogue import broken, is_model
from attn_ref.check import distribution
from attn_ref.check.adjoint import compare_gradients
from attn_ref.check.apart import Apart, Lost
from attn_ref.check.budget import TIMEOUT
from attn_ref.check.cases import Case
from attn_ref.check.compare import compare
from attn_ref.check.contract import hold
from attn_ref.check.drawing import DTYPES, MODES, Draw, kinds
from attn_ref.check.gaps import gaps_for
from attn_ref.check.judge import Outcome
from attn_ref.check.lanes import Inline, Lane, Progress, Steps, carry_out, without_result
from attn_ref.check.report import Report, Row, environment
from attn_ref.check.shrink import shrink_rows
from attn_ref.check.tolerance import LIMIT
from attn_ref.engines import MissingBackend, backend, backends, served
from attn_ref.interrupts import Deaf

#: of a row's cases so many are held to the contract too, of a model fewer, since each takes long
PROMISED, BY_A_MODEL = 12, 3


class Interrupted(KeyboardInterrupt):
    """A check that was interrupted: what it had found until then, and the exit code of a command that ends so."""

    def __init__(self, report: Report, code: int) -> None:
        super().__init__(report.partial)
        self.report, self.code = report, code


def run(
    blocks: Sequence[str | type[Block]],
    engines: Sequence[str] | None,
    dtypes: Sequence[str] | None,
    modes: Sequence[str] | None,
    cases: int | None,
    seed: int,
    timeout: float,
    executor: Callable[[str], Executor] | str,
    progress: Progress | None,
) -> Report:
    """See ``attn_ref.check.check``."""
    chosen = list(dict.fromkeys(find_block(b) if isinstance(b, str) else b for b in blocks or all_blocks().values()))
    known("dtype", dtypes or (), DTYPES)
    known("mode", modes or (), MODES)
    for name, number, least in (("cases", 1 if cases is None else cases, 1), ("seed", seed, 0)):
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name} should be a whole number, at least {least}; got {number!r}")
    above_zero(timeout)
    if not (asked := chosen_engines(engines)):
        raise MissingBackend("no engine is installed; pip install 'attn_ref[torch]' or 'attn_ref[keras]'")
    for engine in asked:
        require(engine)
    start = opener(executor, timeout)
    draw = Draw({cls.__name__: cls for cls in chosen}, seed)
    rows = [
        Row(c.__name__, engine, mode, dtype, asked=count or 0)
        for c in chosen
        for engine in asked
        if not (peer := served(engine).peer) or peer.block == c.__name__
        for mode, dtype, count in kinds(engine, modes, dtypes, cases, model=is_model(c))
    ]
    if not rows:
        raise ValueError(f"{', '.join(asked)} computes none of {', '.join(c.__name__ for c in chosen)}")
    if not blocks:
        missing = [(name, why, engine) for name, why in broken().items() for engine in asked]
        rows += [Row(name, engine, MODES[0], DTYPES[0], asked=1, note=why) for name, why, engine in missing]
    lanes: list[Lane] = []
    executors: dict[str, Executor] = {}
    started: dict[Any, Executor] = {}
    steps = Steps(draw, work, enter, fingerprint)
    try:
        for engine in asked:
            own = [row for row in rows if row.engine == engine]
            names = list(dict.fromkeys(row.block for row in own))
            count = min(served(engine).workers.get(engine, 1), len(names))
            for n in range(count):  # so that it goes on with both cores when other engines are done
                part = [row for row in own if names.index(row.block) % count == n]
                started[engine, n] = start(engine)
                executors[engine] = started[engine, 0]
                lanes.append(Lane(engine, part, started[engine, n], steps))
        for row in rows:  # while the engines start
            if row.note:
                continue
            row.asked = row.asked or draw.all(row)
            if not served(row.engine).mirrors(row.block):
                row.skipped, row.note = row.asked, f"no mirror in {served(row.engine).__module__}"
        tell = progress or (lambda *_: None)
        carry_out(lanes, tell)
        done = sum(row.cases for row in rows)
        shrink_rows(
            rows,
            lambda row, case: smaller(executors[row.engine], row, Case.from_json(case)),
            lambda title: tell(done, done, title),
        )
        end(started, now=False)
    except KeyboardInterrupt as stop:
        with Deaf():
            end(started, now=True)
            of = sum(row.asked for row in rows if not row.skipped)
            partial = f"interrupted after {sum(row.cases for row in rows)} of {of} cases"
            raise Interrupted(report(rows, lanes, draw, partial), getattr(stop, "code", 130)) from None
    except BaseException:
        end(started, now=True)
        raise
    return report(rows, lanes, draw)


def end(executors: dict[Any, Executor], *, now: bool) -> None:
    """Let our own executors go; with ``now`` whatever they do. Those of a caller only lose what has not begun."""
    for wait in (False, True):  # first tell all, then wait for each
        for executor in executors.values():
            if isinstance(executor, Apart):
                executor.shutdown(wait, cancel_futures=now)


def report(rows: list[Row], lanes: Iterable[Lane], draw: Draw, partial: str | None = None) -> Report:
    """What was found so far."""
    for row in rows:
        row.not_run = 0 if row.skipped else row.asked - row.cases
        row.pairs = draw.pairs(row)
    in_force = {
        gap.id: asdict(gap) for row in rows for gap in gaps_for(row.engine, row.dtype) if gap.id in row.known_gaps
    }
    told = {lane.engine: lane.told for lane in lanes}
    limits = {row.dtype: LIMIT[row.dtype] for row in rows}
    return Report(rows, list(in_force.values()), {**environment(), "engines": told}, limits, partial)


def opener(kind: Callable[[str], Executor] | str, timeout: float) -> Callable[[str], Executor]:
    """Engine -> its executor. ValueError for an unknown kind."""
    if callable(kind):
        return kind
    if kind == "inline":
        return lambda engine: Inline()
    if kind == "processes":
        return lambda engine: Apart(engine, timeout)
    raise ValueError(f"unknown executor {kind!r}; it is 'processes', 'inline' or a function engine -> executor")


def above_zero(timeout: float) -> None:
    """ValueError if ``timeout`` is no number of seconds."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout should be a number of seconds above 0; got {timeout!r}")


def chosen_engines(engines: Iterable[str] | None) -> list[str]:
    """The engines asked for; "all": every installed one; None: those without what a backend runs on request only."""
    installed = [engine for engine, cls in backends().items() if cls.version(engine)]
    if engines is None:
        return [engine for engine in installed if engine not in served(engine).on_request]
    return list(dict.fromkeys(e for engine in engines for e in (installed if engine == "all" else [engine])))


def known(what: str, given: Iterable[str], names: Iterable[str]) -> None:
    """ValueError if one of ``given`` is none of ``names``."""
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"unknown {what} {', '.join(unknown)}; the {what}s are {', '.join(names)}")


def require(engine: str) -> type[Backend]:
    """The engine's backend class. ValueError for an unknown engine, MissingBackend if it is not installed."""
    try:
        found = served(engine)
    except KeyError:
        found = None
    if found is None or found.version(engine) is None:
        backend(engine)  # raises the error that says so
    return served(engine)


def work(engine: str, mode: str, dtype: str, texts: list[str]) -> list[Outcome]:
    """What a worker does: some cases on its engine."""
    return [attempted(engine, mode, dtype, text) for text in texts]


def attempted(engine: str, mode: str, dtype: str, text: str) -> Outcome:
    """One case, whatever a mirror raises: SystemExit is its fault too. KeyboardInterrupt may be a person's."""
    try:
        return one(engine, mode, dtype, Case.from_json(text))
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        return without_result(text, error)


def smaller(executor: Executor, row: Row, case: Case) -> Outcome:
    """A case that may be smaller than that of ``row``; one that its layer need not compute is none, so it agrees."""
    peer = served(row.engine).peer
    if peer and peer.outside(case.build(), case.inputs(row.dtype)):
        return Outcome(case.to_json(), 0.0, "")
    return on(executor, row.engine, row.mode, row.dtype, case)


def on(executor: Executor, engine: str, mode: str, dtype: str, case: Case) -> Outcome:
    """One case on an executor, whatever becomes of its worker."""
    text = case.to_json()
    try:
        (outcome,) = executor.submit(work, engine, mode, dtype, [text]).result()
    except Lost as lost:
        return without_result(text, lost)
    return outcome


def one_apart(
    engine: str, mode: str, dtype: str, case: Case, timeout: float = TIMEOUT, kind: str = "processes"
) -> Outcome:
    """One case, in a worker of its own unless ``kind`` is "inline". RuntimeError where the engine does not start."""
    require(engine)
    above_zero(timeout)
    executor = opener(kind, timeout)(engine)
    try:
        return on(executor, engine, mode, dtype, case)
    finally:
        executor.shutdown(cancel_futures=True)


def fingerprint(engine: str) -> dict[str, Any]:
    """What the engine says of itself in its worker."""
    return backend(engine).fingerprint()


def one(engine: str, mode: str, dtype: str, case: Case) -> Outcome:
    """One case, here and now."""
    able, gaps = backend(engine), gaps_for(engine, dtype)
    if mode == "forward":
        outcome = compare(able, case, dtype, gaps)
        count = BY_A_MODEL if is_model(find_block(case.block)) else PROMISED
        held = dtype == DTYPES[0] and engine not in able.shapes and not able.peer and case.seed % 1_000_003 < count
        if held and outcome.first is None and not case.empty():
            hold(outcome, able, case.build(), dtype, case.inputs(dtype))
        return outcome
    return compare_gradients(able, case, dtype, gaps, training=mode == "training")


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
