"""timm's ``EcaModule`` and ``CecaModule`` as a peer of ``EfficientChannelAttention``.

Source: ``timm/layers/eca.py``. Both have one tensor, a kernel along the channels, of one name; that says neither how
many channels there are nor which of the two it is of. The one with a bottleneck (``use_mlp``) has more names, which are
refused, and so is a bias (``act_layer`` of ``CecaModule``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attn_ref.blocks.efficient_channel_attention import EfficientChannelAttention
from attn_ref.expresses import inexpressible
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule
from attn_ref_torch.timm_layer import layer_map, peer

ANYTHING = ("channels", "kernel_size", "circular")
RULES = (Rule("conv.weight", "conv.kernel", "conv"),)


def refuses(block: EfficientChannelAttention) -> list[str]:
    """What it cannot mean."""
    return inexpressible(block, ANYTHING, {})


def make(block: EfficientChannelAttention, dtype: str) -> Any:
    """A new layer with ``block``'s options; given no number of channels, it takes the size of the kernel."""
    import torch

    from attn_ref_torch import timm

    layers = timm.module("layers.eca")
    kind = layers.CecaModule if block.circular else layers.EcaModule
    return kind(kernel_size=block.kernel_size, dtype=getattr(torch, dtype))


def spots(block: EfficientChannelAttention) -> Iterator[Spot]:
    """Where the taps are; the circular one has wrapped the means round before they reach a module."""
    if not block.circular:
        yield Spot("conv", "flat in", "squeezed", "b c")
    yield Spot("conv", "flat", "mixed", "b c")
    yield Spot("gate", "flat", "gate", "b c")


PEER = peer(
    "timm.EcaModule",
    "EfficientChannelAttention",
    refuses=refuses,
    weights=lambda block: RULES,
    make=make,
    spots=spots,
)
MAP = layer_map(
    "timm.EcaModule",
    "timm's EcaModule, or with circular = True its CecaModule",
    "EfficientChannelAttention",
    rules=RULES,
    refuses=refuses,
    fields=FieldRules(sizes={"kernel_size": ("conv.kernel", 0)}, asked=("circular",)),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.ends import run_tapped

    return run_tapped(PEER, job)
