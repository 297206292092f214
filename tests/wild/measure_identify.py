"""How well ``identify`` says what the wild layers are, of which it is told nothing.

``python -m tests.wild.measure_identify [--half tuned|frozen] [--cases N] [--json FILE] [FILE or NAME …]``

A layer is identified exactly if the block is that of the corpus, besides options of training alone. It is so up
to a tie if it is said to agree as a block with other options or of another class: which ones is printed, to be read. A
layer that is said to be near to a block only is missed.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from attn_ref.block import Block
from attn_ref.verbs.candidates import TRAINING

from . import measure


def identified(file: str, name: str, cases: int) -> dict[str, Any]:
    """What came of one right layer."""
    import attn_ref as ar

    wild = next(w for w in import_module(f"tests.wild.{file}").WILD if w.name == name)
    start = time.process_time()
    row: dict[str, Any] = {"file": file, "layer": name, "half": wild.half}
    try:
        found = ar.identify(wild.build(), cases=cases)
    except Exception as error:
        told = f"{type(error).__name__}: {str(error)[:200]}"
        return {**row, "seconds": time.process_time() - start, "came": "lost", "says": told}
    row["seconds"] = time.process_time() - start
    came = "missed" if not found.ok else "other" if differs(wild.block, found.block) else "exact"
    return {**row, "came": came, "says": differs(wild.block, found.block), "ties": found.ties, "whole": str(found)}


def differs(wanted: Block, got: Block) -> str:
    """Which options are others, wanted / got."""
    if type(wanted) is not type(got):
        return f"wanted {wanted}; got {got}"
    told = []
    for name, want in wanted.fields().items():
        value = got.fields()[name]
        if isinstance(want, Block) and isinstance(value, Block) and want != value:
            told.append(f"{name}: ({differs(want, value)})")
        elif want != value and name not in TRAINING:
            told.append(f"{name}: {want} / {value}")
    return ", ".join(told)


def main() -> int:
    """Print what is not exact, then the shares."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--half", default="all")
    ask.add_argument("--cases", type=int, default=6)
    ask.add_argument("--json", default="")
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("names", nargs="*")
    said = ask.parse_args()
    every: list[dict[str, Any]] = []
    with ProcessPoolExecutor(said.workers, get_context("spawn")) as pool:
        work = [pool.submit(identified, *job, said.cases) for job in measure.jobs(said.half, said.names)]
        for job in work:
            every.append(row := job.result())
            told = f"{row['layer']}: {row['says']} {row.get('ties') or ''}"
            print(f"{row['came']:7}{row['seconds']:6.1f} s  {told}", flush=True)
            if said.json:
                with open(said.json, "w") as file:
                    json.dump(every, file, indent=1)
    for half in ("tuned", "frozen"):
        rows = [row["came"] for row in every if row["half"] == half]
        print(f"{half}: {len(rows)} layers, { ({came: rows.count(came) for came in dict.fromkeys(rows)}) }")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
