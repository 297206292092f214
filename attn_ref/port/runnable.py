"""The file that the source's own framework is given to run: the source itself, or its tensors under their own names.

A loader knows none of the wrappers that people's files have, and not every format. Then it gets a copy without them,
in which every tensor has the name and the layout that it has in the source.
"""

from __future__ import annotations

from pathlib import Path

from attn_ref.port.checkpoint import Checkpoint
from attn_ref.port.files import write
from attn_ref.port.plan import Plan

#: endings of what a framework's own loader takes as it is
NATIVE = (
    ".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin", ".weights.h5", ".weights.json", ".keras", ".npz",
)  # fmt: skip


def is_native(plan: Plan, source: Checkpoint) -> bool:
    """Does the map's own loader take the source as it is?"""
    wrapped = plan.prefix or source.left or any(why.startswith("--drop") for why in plan.unused.values())
    return not wrapped and plan.source.name.endswith(NATIVE)


def runnable(plan: Plan, source: Checkpoint, folder: Path) -> Path:
    """The source's file, or a copy of its tensors in ``folder``."""
    if is_native(plan, source):
        return plan.source
    names = {move.source.removeprefix(plan.prefix): move.source for move in plan.moves}
    ending = ".weights.h5" if "keras_h5" in plan.from_map.formats else ".safetensors"
    copy = folder / f"copy{ending}"
    write(copy, source.renamed(names))
    return copy
