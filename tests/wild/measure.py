"""How well ``conform`` reads the wild layers: right ones that agree; faults, at which place and line, and why.

``python -m tests.wild.measure [--half tuned|frozen] [--faults N] [--cases N] [--pairs] [--json FILE] [FILE or NAME …]``

No layer is described: how it is called and what its weights are is found. A fault counts as seen where ``observable``
says that it changes a result. Its line is right if it is a line of the fault, or the line where the first wrong number
comes up, which ``places`` finds with the right weights known.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

from . import observable, places
from .corpus import Planted, Wild, marks
from .observable_more import MORE

#: file -> the framework that it needs
FILES = {**observable.FILES, **MORE}


@dataclass
class Row:
    """What came of one layer with one fault, or without any."""

    file: str
    layer: str
    half: str
    fault: str
    verdict: str = ""
    ok: bool = False
    #: the taps at which it may show, and the one that is named
    taps: str = ""
    first: str | None = None
    line: str | None = None
    #: is the line one of the fault's, and the tap one of those?
    lined: bool = False
    placed: bool = False
    trap: str | None = None
    says: str | None = None
    #: what is right, in words, and the option that explains it
    reason: str = ""
    option: str = ""
    seconds: float = 0.0
    alias: bool = False
    cases: int = 0


def rows(file: str, name: str, faults: int, cases: int, pairs: bool) -> list[Row]:
    """A layer's rows: without a fault, then with as many of its faults as are asked for, spread over all."""
    wild = next(w for w in import_module(f"tests.wild.{file}").WILD if w.name == name)
    told = [("", None), *spread(list(wild.faults.items()), faults)]
    if pairs:
        told += [(pair, None) for pair in wild.pairs]
    return [row(file, wild, fault, planted, cases) for fault, planted in told]


def spread(faults: list[Any], count: int) -> list[Any]:
    """``count`` of them, evenly."""
    if count >= len(faults):
        return faults
    return [faults[i * len(faults) // count] for i in range(count)]


def row(file: str, wild: Wild, fault: str, planted: Planted | None, cases: int) -> Row:
    """One run."""
    import attn_ref as ar

    start = time.process_time()
    own = marks(wild)
    made = Row(
        file, wild.name, wild.half, fault,
        taps=planted.taps if planted else "", reason=planted.reason if planted else "",
        option=planted.option if planted else "", alias=bool(planted and planted.alias),
    )  # fmt: skip
    try:
        verdict = ar.conform(wild.build(fault), wild.block, cases=cases)
    except Exception as error:
        made.verdict = f"{type(error).__name__}: {str(error)[:300]}"
        made.seconds = time.process_time() - start
        return made
    place = verdict.places[0] if verdict.places else None
    wanted = [n for part in fault.split("+") for n in own.get(part, [])]
    made.verdict, made.ok, made.cases, made.first, made.trap = (
        str(verdict), verdict.ok, verdict.cases, verdict.first, verdict.trap,
    )  # fmt: skip
    made.line = place.line.short if place and place.line else None
    if planted:
        framework = {"tensorflow": "keras", "flax": "jax"}.get(FILES[file], FILES[file])
        wanted += places.shows(wild, fault) if framework == "torch" else places.shows_traced(wild, framework, fault)
    made.lined = bool(place and place.line and place.line.number in wanted)
    made.placed = bool(planted) and verdict.first in planted.taps.split("|")  # type: ignore[union-attr]
    made.says = place.reason.says if place and place.reason else None
    made.seconds = time.process_time() - start
    return made


def jobs(half: str, wanted: list[str]) -> Iterator[tuple[str, str]]:
    """(file, layer) of all that are wanted."""
    for file, framework in FILES.items():
        if find_spec(framework) is None:
            print(f"{file} is left out: {framework} is not installed")
            continue
        for wild in import_module(f"tests.wild.{file}").WILD:
            if half in ("all", wild.half) and (not wanted or file in wanted or wild.name in wanted):
                yield file, wild.name


def main() -> int:
    """Print what is missed, then the shares."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--half", default="all")
    ask.add_argument("--faults", type=int, default=100)
    ask.add_argument("--cases", type=int, default=4)
    ask.add_argument("--pairs", action="store_true")
    ask.add_argument("--json", default="")
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("names", nargs="*")
    said = ask.parse_args()
    every: list[Row] = []
    with ProcessPoolExecutor(said.workers, get_context("spawn")) as pool:
        work = [
            pool.submit(rows, file, name, said.faults, said.cases, said.pairs)
            for file, name in jobs(said.half, said.names)
        ]
        for job in work:
            try:
                every += job.result()
            except Exception as error:
                print(f"lost: {type(error).__name__}: {error}")
                continue
            if said.json:
                with open(said.json, "w") as file:
                    json.dump([asdict(x) for x in every], file, indent=1)
    report(every)
    return 0


def report(every: list[Row]) -> None:
    """The misses, and the shares for each half."""
    for half in ("tuned", "frozen"):
        clean = [x for x in every if x.half == half and not x.fault]
        faulty = [x for x in every if x.half == half and x.fault and "+" not in x.fault]
        if not clean and not faulty:
            continue
        caught = [x for x in faulty if not x.ok]
        good = sum(x.ok for x in clean)
        print(f"{half}: {good} of {len(clean)} right layers agree, {sum(x.cases for x in clean)} cases")
        aliases = sum(x.alias for x in faulty if x.ok)
        print(f"  {len(caught)} of {len(faulty)} faults caught, {aliases} more are other weights")
        if caught:
            print(
                f"  place {sum(x.placed for x in caught)}, line {sum(x.lined for x in caught)}, "
                f"a known reason {sum(x.trap not in (None, 'other-step') for x in caught)}, "
                f"a formula {sum(x.trap == 'other-step' for x in caught)} of {len(caught)} caught"
            )
        for x in clean:
            if not x.ok:
                print(f"  NOT  {x.file} {x.layer}: {x.verdict.splitlines()[0]} | {x.first} {x.trap}")
        for x in faulty:
            if x.ok and not x.alias:
                print(f"  MISS {x.layer}: {x.fault}")


if __name__ == "__main__":
    raise SystemExit(main())
