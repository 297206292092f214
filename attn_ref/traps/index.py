"""The catalogue: every trap that is known, by name and by family."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from attn_ref import names
from attn_ref.block import Block
from attn_ref.discovery import find
from attn_ref.traps import (
    convolutions,
    gates,
    heads,
    layers,
    maps,
    masks,
    networks,
    norms,
    positions,
    scores,
    tokens,
    weights,
)
from attn_ref.traps.definition import Trap
from attn_ref.traps.planting import applies

#: what a family's traps are of, and its file
FAMILIES: dict[str, ModuleType] = {
    "scores: scale, soft cap, bias": scores,
    "masks, causality, windows": masks,
    "attention weights": weights,
    "projections and heads": heads,
    "positions": positions,
    "norms": norms,
    "feed-forward networks": networks,
    "layers and residuals": layers,
    "tokens, pooling, heads of models": tokens,
    "gates of channels and pixels": gates,
    "convolutions and pooling": convolutions,
    "maps over pixels and channels": maps,
}


@cache
def _known() -> names.Named[Trap]:
    found = names.Named[Trap]("trap")
    for module in FAMILIES.values():
        for trap in module.ROWS:
            if trap.name in found:
                raise TypeError(f"two traps are called {trap.name}")
            found[trap.name] = trap
    return found


def catalogue() -> dict[str, Trap]:
    """Every trap by name, family by family."""
    return _known()


def families() -> dict[str, tuple[Trap, ...]]:
    """What a family is of -> its traps."""
    return {title: module.ROWS for title, module in FAMILIES.items()}


def traps(block: Block | str | None = None) -> list[Trap]:
    """The traps of a block, of those inside it too, or all. A block's name stands for its example.

    ValueError for a name that is no block's.
    """
    if isinstance(block, str):
        cls: type[Block] | None = find(block)
        if cls is None:
            known = sorted({name for trap in _known().values() for name in trap.blocks})
            raise ValueError(f"no block {block!r}; {names.hint(block, known)}those with traps are {', '.join(known)}")
        block = cls.build(cls.example)
    if block is None:
        return [*_known().values()]
    return [trap for trap in _known().values() if applies(trap, block)]


def trap(name: str) -> Trap:
    """The trap called ``name``. ValueError that says which were meant when there is none."""
    known = _known()
    if name not in known:
        about = {other: f"{row.says}\n\n{row.symptom}" for other, row in known.items()}
        raise ValueError(f"no trap {name!r}; {names.hint(str(name), known, about)}attn-ref traps lists {len(known)}")
    return known[name]
