"""timm's ``NonLocalAttn`` as a peer of ``NonLocal``.

Source: ``timm/layers/non_local_attn.py``. It has two spatial dimensions, always a batch norm, and scales by 1/√channels
unless it is told not to (``use_scale``), which its file does not say.
"""

from __future__ import annotations

from typing import Any

from attn_ref.blocks.non_local import NonLocal
from attn_ref.expresses import Rules, inexpressible
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import batch_norm, conv
from attn_ref_torch.timm_layer import COUNTS, layer_map, peer

ANYTHING = ("channels", "inner_width")
RULES = (
    *conv("t", "theta"), *conv("p", "phi"), *conv("g", "g"), *conv("z", "project"), *batch_norm("norm", "norm"),
)  # fmt: skip
SPOTS = (
    Spot("z", "in", "context", "b c H W"), Spot("z", "out", "projected", "b c H W"),
    Spot("norm", "out", "normed", "b c H W"),
)  # fmt: skip


def refuses(block: NonLocal) -> list[str]:
    """What it cannot mean."""
    rules: Rules = {
        "batch_norm": (block.batch_norm, "True"), "scale": (block.scale in ("input", None), "'input' or None")
    }  # fmt: skip
    return inexpressible(block, ANYTHING, rules)


def make(block: NonLocal, dtype: str) -> Any:
    """A new layer with ``block``'s options."""
    import torch

    from attn_ref_torch import timm

    kind = timm.module("layers.non_local_attn").NonLocalAttn
    return kind(
        block.channels, rd_channels=block.inner, use_scale=block.scale == "input", dtype=getattr(torch, dtype)
    )  # fmt: skip


PEER = peer(
    "timm.NonLocalAttn",
    "NonLocal",
    refuses=refuses,
    weights=lambda block: RULES,
    make=make,
    spots=lambda block: SPOTS,
)
MAP = layer_map(
    "timm.NonLocalAttn",
    "timm's NonLocalAttn",
    "NonLocal",
    rules=RULES,
    unused=COUNTS,
    refuses=refuses,
    fields=FieldRules(
        sizes={"channels": ("theta.kernel", -2), "inner_width": ("theta.kernel", -1)},
        present={"batch_norm": "norm.scale", "use_bias": "theta.bias"},
        asked=("scale",),
    ),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.ends import run_tapped

    return run_tapped(PEER, job)
