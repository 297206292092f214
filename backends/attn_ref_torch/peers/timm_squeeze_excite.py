"""timm's ``SqueezeExcite`` (``SEModule``) as a peer of ``SqueezeExcitation``.

Source: ``timm/layers/squeeze_excite.py``. Its linear layers are convolutions of 1 × 1. The width of its bottleneck is
rounded to a multiple of 8, so it is read from the file. What its file does not show has to be as it is by default: ReLU
(``act_layer``), no maximum beside the mean (``add_maxpool``). A norm in the bottleneck has names, which are refused.
"""

from __future__ import annotations

from typing import Any

from attn_ref.blocks.squeeze_excitation import SqueezeExcitation
from attn_ref.expresses import inexpressible
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import pointwise
from attn_ref_torch.timm_layer import layer_map, peer, present

#: fields of which it takes any value
ANYTHING = ("channels", "reduction", "reduced_width", "use_bias", "gate")
RULES = (*pointwise("fc1", "reduce"), *pointwise("fc2", "expand"))
SPOTS = (
    Spot("fc1", "flat in", "squeezed", "b c"), Spot("fc1", "flat", "reduced", "b r"),
    Spot("act", "flat", "active", "b r"), Spot("fc2", "flat", "expanded", "b c"),
    Spot("gate", "flat", "gate", "b c"),
)  # fmt: skip


def refuses(block: SqueezeExcitation) -> list[str]:
    """What it cannot mean."""
    return inexpressible(block, ANYTHING, {})


def refuses_check(block: SqueezeExcitation) -> list[str]:
    """What a check does not hold it to besides: torch has 1 / 6 in float32 in the gradient of its hard sigmoid."""
    return [*refuses(block), *(["gate = 'hard_sigmoid' in gradients"] if block.gate == "hard_sigmoid" else [])]


#: its names
weights = present(RULES)


def make(block: SqueezeExcitation, dtype: str) -> Any:
    """A new layer with ``block``'s options."""
    import torch

    from attn_ref_torch import timm

    layer = timm.module("layers.squeeze_excite").SqueezeExcite(
        block.channels, rd_channels=block.bottleneck, bias=block.use_bias, gate_layer=block.gate,
        dtype=getattr(torch, dtype),
    )  # fmt: skip
    layer.act.inplace = False  # or what comes in, a tap, would be what goes out
    return layer


PEER = peer(
    "timm.SqueezeExcite",
    "SqueezeExcitation",
    refuses=refuses_check,
    weights=weights,
    make=make,
    spots=lambda block: SPOTS,
)
MAP = layer_map(
    "timm.SqueezeExcite",
    "timm's SqueezeExcite, also called SEModule",
    "SqueezeExcitation",
    rules=RULES,
    derive=weights,
    beside=("reduction",),  # the width itself is given, from the file
    refuses=refuses,
    fields=FieldRules(
        sizes={"channels": ("reduce.kernel", 0), "reduced_width": ("reduce.kernel", 1)},
        present={"use_bias": "reduce.bias"},
        asked=("gate",),
    ),
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.ends import run_tapped

    return run_tapped(PEER, job)
