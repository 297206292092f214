"""Traps: ways in which the world deviates from the definitions, as data.

A trap changes what goes in, what stands at taps, or what comes out, always as arrays, so the same one applies to the
reference and, through ``Backend.run``, to every mirror.

>>> from attn_ref.traps import planted, trap
>>> row = trap("softmax-over-queries")
>>> row.says
'the softmax runs over the queries, not over the keys'
>>> block, inputs = row.shows()
>>> planted(row, block, block.init(), inputs).taps["weights"].value.sum(-2).round(6).max()
np.float64(1.0)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attn_ref.traps.definition import OUTPUT, Absent, Example, Here, Trap
from attn_ref.traps.planting import Planted, Planting, applies, planted, planting
from attn_ref.traps.tutorials import (
    always_dropping,
    dropping_only,
    mask_added,
    mask_of_numbers,
    renamed,
    uniform_where_nothing_is_kept,
)

if TYPE_CHECKING:
    from attn_ref.traps.index import FAMILIES, catalogue, families, trap, traps

__all__ = [
    "FAMILIES", "OUTPUT", "Absent", "Example", "Here", "Planted", "Planting", "Trap", "always_dropping", "applies",
    "catalogue", "dropping_only", "families", "mask_added", "mask_of_numbers", "planted", "planting", "renamed", "trap",
    "traps", "uniform_where_nothing_is_kept",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # the catalogue shows each trap on a block; a file of a block that does not import takes only it down
    if name in ("FAMILIES", "catalogue", "families", "trap", "traps"):
        return getattr(import_module("attn_ref.traps.index"), name)
    raise AttributeError(f"module 'attn_ref.traps' has no attribute {name!r}")
