"""The two ends of a conversion, each run in a process of its own, by the loader of its own framework.

``main(FOLDER)`` reads ``FOLDER/job.json`` and ``inputs.npz``, runs the function that the job
names, and leaves ``taps.npz`` and ``result.json``. Nothing else of the porter runs a framework.
"""

from __future__ import annotations

import json
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.foreign.job import Job, Outcome


def canonical(job: Job) -> Outcome:
    """The NumPy reference on canonical weights."""
    from attn_ref.port.files import read
    from attn_ref.tap import record

    with read(job.path) as checkpoint:
        weights = {name: checkpoint[name].astype(np.float64) for name in job.block.params()}
    with record() as taps:
        output = job.block(weights, **job.inputs)
    return Outcome(output, taps, f"the reference in NumPy {np.__version__}, float64")


def main(place: str) -> None:
    """Run the job in the folder ``place``."""
    folder = Path(place)
    job: dict[str, Any] = json.loads((folder / "job.json").read_text())
    module, _, function = job.pop("end").partition(":")
    try:
        from attn_ref.catalogue import block

        job["block"] = block(job["block"]).build(job.pop("fields"))
        with np.load(folder / "inputs.npz", allow_pickle=False) as inputs:
            run = getattr(import_module(module), function)
            outcome: Outcome = run(Job(**job, inputs=dict(inputs)))
    except Exception as error:  # whatever a framework raises on a file is what the proof reports
        traceback.print_exc()
        (folder / "result.json").write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return
    arrays = {f"tap/{name}": tapped.value for name, tapped in outcome.taps.items()}
    if outcome.output is not None:
        arrays["output"] = outcome.output
    np.savez(folder / "taps.npz", **arrays)
    labels = {name: tapped.labels for name, tapped in outcome.taps.items()}
    (folder / "result.json").write_text(json.dumps({"by": outcome.by, "labels": labels}))
