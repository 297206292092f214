"""How well ``compare`` names the line at which a layer with a fault parts from the right one, over the wild layers.

``python -m tests.wild.measure_pairs [--faults N] [--found] [FILE or NAME …]``

Both are called as the corpus says, on numbers that it draws; with ``--found`` how they are called is found. A line is
right if it is a line of the fault, or, in torch, the line where the first wrong number comes up (see ``places``).
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from typing import Any

import numpy as np

import attn_ref as ar

from . import measure, places
from .corpus import Wild, marks


def compared(wild: Wild, fault: str, found: bool) -> Any:
    """The right layer against the one with the fault."""
    a, b = wild.build(""), wild.build(fault)
    if found:
        return ar.compare(a, b, cases=4)
    inputs = {name: np.asarray(x) for name, x in wild.draw(np.random.default_rng(0)).items()}
    return ar.compare(a, b, inputs=inputs, call=wild.call, cases=4)


def told(wild: Wild, fault: str, found: bool) -> tuple[str, str]:
    """(what came of it, in words): right, partner (the line of the right layer is it), wrong, missed, lost."""
    try:
        result = compared(wild, fault, found)
    except Exception as error:
        return "lost", f"{type(error).__name__}: {str(error)[:200]}"
    if result.ok:
        return ("right", "") if not fault else ("missed", str(result).splitlines()[0])
    if not fault:
        return "wrong", str(result)
    wanted = set(marks(wild).get(fault, []))
    if wild.cls.__module__.rpartition(".")[2].startswith("torch"):
        wanted |= places.shows(wild, fault, 1)
    lines = [place.line.number if place and place.line else -1 for place in result.places]
    said = f"{lines}, wanted {sorted(wanted)}: {result.says}"
    return ("right" if lines[1] in wanted else "partner" if lines[0] in wanted else "wrong"), said


def main() -> int:
    """Print what is missed, then the shares."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--faults", type=int, default=100)
    ask.add_argument("--found", action="store_true")
    ask.add_argument("names", nargs="*")
    said = ask.parse_args()
    clean: dict[str, int] = {}
    faulty: dict[str, int] = {}
    start = time.process_time()
    for file, name in measure.jobs("all", said.names):
        wild = next(w for w in import_module(f"tests.wild.{file}").WILD if w.name == name)
        seen = [fault for fault, planted in wild.faults.items() if not planted.unseen]
        for fault in ["", *measure.spread(seen, said.faults)]:
            came, why = told(wild, fault, said.found)
            into = faulty if fault else clean
            into[came] = into.get(came, 0) + 1
            if came != "right":
                print(f"{came:8}{name}: {fault or 'no fault'}: {why}", flush=True)
    print(f"without a fault: {clean}\nwith a fault: {faulty}\n{time.process_time() - start:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
