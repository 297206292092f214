"""timm's ``CbamModule`` as a peer of ``CBAM``.

Source: ``timm/layers/cbam.py``. Its linear layers are convolutions of 1 × 1, and a batch norm always follows the
convolution of its spatial attention. Its other gates and activations leave no trace in a file: they have to be as they
are by default. ``LightCbamModule`` has the same names; its kernel is of one map and not of two, and is refused by its
shape.
"""

from __future__ import annotations

from typing import Any

from attn_ref.blocks.cbam import CBAM
from attn_ref.expresses import inexpressible
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, batch_norm, pointwise
from attn_ref_torch.timm_layer import COUNTS, layer_map, peer, present

ANYTHING = ("channels", "reduction", "reduced_width", "use_bias", "kernel_size")
RULES = (
    *pointwise("channel.fc1", "channel_attention.reduce"),
    *pointwise("channel.fc2", "channel_attention.expand"),
    Rule("spatial.conv.conv.weight", "spatial_attention.conv.kernel", "conv"),
    *batch_norm("spatial.conv.bn", "spatial_attention.norm"),
)
SPOTS = (
    Spot("channel.gate", "flat", "channel_attention.gate", "b c"),
    Spot("channel", "out", "channel_attention.scaled", "b c H W"),
    Spot("spatial.conv.conv", "in", "spatial_attention.pooled", "b p H W"),
    Spot("spatial.conv.conv", "out", "spatial_attention.convolved", "b u H W"),
    Spot("spatial.conv.bn", "out", "spatial_attention.normed", "b u H W"),
    Spot("spatial.gate", "out", "spatial_attention.gate", "b u H W"),
)


def refuses(block: CBAM) -> list[str]:
    """What it cannot mean."""
    return inexpressible(block, ANYTHING, {"batch_norm": (block.batch_norm, "True")})


#: its names
weights = present(RULES)


def make(block: CBAM, dtype: str) -> Any:
    """A new layer with ``block``'s options."""
    import torch

    from attn_ref_torch import timm

    return timm.module("layers.cbam").CbamModule(
        block.channels, rd_channels=block.channel_attention.bottleneck, spatial_kernel_size=block.kernel_size,
        mlp_bias=block.use_bias, dtype=getattr(torch, dtype),
    )  # fmt: skip


PEER = peer(
    "timm.CbamModule",
    "CBAM",
    refuses=refuses,
    weights=weights,
    make=make,
    spots=lambda block: SPOTS,
)
MAP = layer_map(
    "timm.CbamModule",
    "timm's CbamModule",
    "CBAM",
    rules=RULES,
    derive=weights,
    unused=COUNTS,
    beside=("reduction",),  # the width itself is given, from the file
    refuses=refuses,
    fields=FieldRules(
        sizes={
            "channels": ("channel_attention.reduce.kernel", 0),
            "reduced_width": ("channel_attention.reduce.kernel", 1),
            "kernel_size": ("spatial_attention.conv.kernel", 0),
        },
        present={"use_bias": "channel_attention.reduce.bias", "batch_norm": "spatial_attention.norm.scale"},
    ),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.ends import run_tapped

    return run_tapped(PEER, job)
