"""Are outputs the same bits as before? For changes that may not change a number.

    python -m tools.golden before.json      # writes it, where there is none
    python -m tools.golden before.json      # compares with it, afterwards; exit code 1 where a bit differs

Twenty seeded cases of every block, on the reference, torch and TensorFlow, taps on and off, in float64 and float32. The
bits hold on one machine with one set of libraries alone, so the file is not kept in the project.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

import attn_ref as ar
from attn_ref.check.cases import Case, cases

COUNT, SEED = 20, 4
DTYPES = ("float64", "float32")
ENGINES = ("torch", "tensorflow")


def bits(values: dict[str, np.ndarray]) -> str:
    """A hash of arrays, their names and shapes."""
    told = hashlib.sha256()
    for name, value in values.items():
        told.update(f"{name} {np.shape(value)} {np.asarray(value).dtype}".encode())
        told.update(np.ascontiguousarray(value).tobytes())
    return told.hexdigest()[:16]


def outputs(engine: str, case: Case, dtype: str) -> dict[str, np.ndarray]:
    """Every tap and what comes out, with taps on and off."""
    weights, inputs = case.weights(dtype), case.inputs(dtype)
    if engine == "reference":
        with ar.record() as taps:
            output = case.build()(weights, **inputs)
        return {**{name: tap.value for name, tap in taps.items()}, "output": output}
    backend = ar.backend(engine)
    layer = backend.load(backend.build(case.build(), dtype), weights)
    on, off = backend.run(layer, inputs), backend.run(layer, inputs, observe=False)
    return {**{name: tap.value for name, tap in on.taps.items()}, "output": on.output, "off": off.output}


def hashes(name: str) -> dict[str, list[str]]:
    """Engine and dtype -> the hash of each case."""
    given = cases(ar.block(name), COUNT, SEED)
    found: dict[str, list[str]] = {}
    for engine in ("reference", *ENGINES):
        for dtype in DTYPES:
            found[f"{engine} {dtype}"] = [bits(outputs(engine, case.within(dtype), dtype)) for case in given]
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
def main(file: Path) -> int:
    """Write the hashes of all outputs to FILE, or compare with those in it."""
    before: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    now = {name: hashes(name) for name in before or ar.blocks()}
    if not before:
        file.write_text(json.dumps(now, indent=1))
        click.echo(f"wrote {file}: {len(now)} blocks, {COUNT} cases each")
        return 0
    changed = [
        f"{name} on {key}, case {n}"
        for name, keys in before.items()
        for key, old in keys.items()
        for n, (a, b) in enumerate(zip(old, now[name][key], strict=True))
        if a != b
    ]
    click.echo("\n".join(changed) or f"the same bits: {len(now)} blocks, {COUNT} cases each")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(standalone_mode=False))
