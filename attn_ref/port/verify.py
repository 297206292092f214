"""The proof of a conversion: both ends are run on the same inputs and compared, tap by tap, with the reference.

A round trip proves nothing, since a map that never transposes passes it. Here the source is run by its own model, the
written file by its framework's own loader, and the NumPy reference, on the weights as the source's map reads them,
judges between them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.check.tolerance import Truth
from attn_ref.child import command
from attn_ref.engines import MissingBackend
from attn_ref.foreign.map import Map, Variant
from attn_ref.port.believed import believed
from attn_ref.port.checkpoint import Checkpoint
from attn_ref.port.plan import Plan
from attn_ref.port.proof import End, Proof, judge, known_gaps
from attn_ref.port.runnable import runnable
from attn_ref.port.sample import sample

#: seconds that both ends may take, and bytes of weights that a second more is given for
SECONDS, SPEED = 900, 4_000_000


def require(*maps: Map) -> None:
    """MissingBackend if an end could not be run, before any work is done."""
    for item in maps:
        if absent := [name for name in item.needs if find_spec(name) is None]:
            raise MissingBackend(
                f"--verify runs files of map {item.name} in their own framework, which needs {', '.join(absent)}; "
                f"pip install 'attn_ref[{item.extra}]', or leave --verify out"
            )


def prove(plan: Plan, source: Checkpoint, written: Path, *, seed: int = 0, tick: Callable[[str], None]) -> Proof:
    """Run ``source`` and the file ``written`` from it, and compare both with the reference."""
    inputs = sample(plan.block, seed, [item.inputs for item in (plan.from_map, plan.to_map) if item.inputs])
    config = str(plan.config.absolute()) if plan.config else None
    block = plan.block.as_data()
    with tempfile.TemporaryDirectory(prefix="attn_ref-") as folder:
        here, there = Path(folder, "source"), Path(folder, "target")
        running: list[subprocess.Popen[bytes]] = []
        try:
            path = runnable(plan, source, Path(folder))
            running.append(start(here, plan.from_map, path, plan.from_variant, config, block, inputs))
            running.append(start(there, plan.to_map, written, plan.to_variant, None, block, inputs))
            right, wrong = reference(plan, source, inputs)
            tick("the reference has run")
            ends = []
            seconds = SECONDS + sum(spec.nbytes for spec in source.specs.values()) / SPEED
            until = time.monotonic() + seconds
            for process, place in zip(running, (here, there), strict=True):
                try:
                    code = process.wait(max(0.0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    ends.append(End(place.name, failure=f"it took longer than {seconds:.0f} s"))
                else:
                    end = judge(place.name, place, code, right) if right else End(place.name, failure=wrong)
                    ends.append(end)
                tick(f"the {place.name} end has run")
            if path != plan.source:
                ends[0].by += f", on a copy of the tensors{f' below {plan.prefix}' if plan.prefix else ''}"
        finally:
            for process in running:
                process.kill()
                process.wait()
    return Proof(seed, {name: value.shape for name, value in inputs.items()}, ends, believed=believed(plan))


def reference(plan: Plan, source: Checkpoint, inputs: Mapping[str, np.ndarray]) -> tuple[Truth | None, str]:
    """The reference on the source's weights, or None and why it judges nothing: what it gives is not finite.

    Either end may have a gap that is known of its framework; the larger tolerance of the two is granted to both.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told below
            return Truth(plan.block, plan.canonical(source), inputs, "float64", known_gaps("float64"), runs=0), ""
    except FloatingPointError as error:
        return None, str(error)


def start(
    folder: Path,
    item: Map,
    path: Path,
    variant: Variant,
    config: str | None,
    block: Mapping[str, Any],
    inputs: Mapping[str, np.ndarray],
) -> subprocess.Popen[bytes]:
    """A process that runs ``path`` (see ``attn_ref.port.ends``)."""
    folder.mkdir()
    np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
    job = {"end": item.end, "path": str(path.absolute()), "config": config, **block, **variant._asdict()}
    (folder / "job.json").write_text(json.dumps(job))
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(
            command("from attn_ref.port.ends import main; main(sys.argv[1])", str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
