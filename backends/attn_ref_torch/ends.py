"""One end of a conversion: a file run by torch's own loader."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file

from attn_ref.engines import backend
from attn_ref.foreign.job import Job, Outcome


def run_file(job: Job) -> Outcome:
    """The torch mirror, by ``load_state_dict(strict=True)``; float64 holds every narrower float exactly."""
    engine = backend("torch")
    layer = engine.build(job.block, "float64")
    if job.path.endswith(".safetensors"):
        state = load_file(job.path)
    elif job.path.endswith(".index.json"):
        shards = set(json.loads(Path(job.path).read_text("utf-8"))["weight_map"].values())
        state = {name: value for shard in shards for name, value in load_file(Path(job.path).with_name(shard)).items()}
    else:
        state = torch.load(job.path, map_location="cpu", weights_only=True)
    layer.load_state_dict(state, strict=True)
    fused = engine.run(layer, job.inputs, observe=False).output
    taps = engine.run(layer, job.inputs).taps
    return Outcome(fused, taps, f"the torch {version('torch')} mirror, float64")
