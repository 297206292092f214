"""One end of a conversion: a file run by torch's own loader."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file

from attn_ref.engines import backend
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Peer
from attn_ref_torch.foreign import Foreign, run


def run_file(job: Job) -> Outcome:
    """The torch mirror, by ``load_state_dict(strict=True)``; float64 holds every narrower float exactly."""
    engine = backend("torch")
    layer = engine.build(job.block, "float64")
    layer.load_state_dict(state_of(job), strict=True)
    fused = engine.run(layer, job.inputs, observe=False).output
    taps = engine.run(layer, job.inputs).taps
    return Outcome(fused, taps, f"the torch {version('torch')} mirror, float64")


def run_peer(peer: Peer, job: Job) -> Outcome:
    """A layer of torch's own, by ``load_state_dict(strict=True)``. Gradients keep it off its native path."""
    layer = peer.make(job.block, "float64").eval()
    layer.load_state_dict(state_of(job), strict=True)
    output = run(Foreign(peer, job.block, layer), job.inputs, gradients=True)
    return Outcome(output, {}, f"{type(layer).__name__} of torch {version('torch')}, float64")


def run_tapped(peer: Peer, job: Job) -> Outcome:
    """A layer of timm's, by ``load_state_dict(strict=True)``, with the values inside that the block taps."""
    layer = peer.make(job.block, "float64").eval()
    layer.load_state_dict(state_of(job), strict=True)
    made = backend("torch").run(Foreign(peer, job.block, layer).eval(), job.inputs)
    by = f"{type(layer).__name__} of timm {version('timm')} on torch {version('torch')}, float64"
    return Outcome(made.output, made.taps, by)


def state_of(job: Job) -> dict[str, torch.Tensor]:
    """What the file holds."""
    if job.path.endswith(".safetensors"):
        return load_file(job.path)
    if job.path.endswith(".index.json"):
        shards = set(json.loads(Path(job.path).read_text("utf-8"))["weight_map"].values())
        return {name: value for shard in shards for name, value in load_file(Path(job.path).with_name(shard)).items()}
    state: dict[str, torch.Tensor] = torch.load(job.path, map_location="cpu", weights_only=True)
    return state
