"""A fault: one change to one file of a mirror."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    ``kind``: fused, mask, finite, size, dropout, dtype, state or contract. ``engine``: torch or tensorflow. ``block``:
    the block that is checked. ``module``: the file that changes, its path below ``attn_ref_torch`` or
    ``attn_ref_keras``. ``old`` stands exactly once in it and becomes ``new``. ``taps``: where the first difference may
    be reported, names joined by "|": taps, "output", "gradient of …", "raised" or "contract".
    """

    name: str
    kind: str
    engine: str
    block: str
    module: str
    old: str
    new: str
    taps: str
