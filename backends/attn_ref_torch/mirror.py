"""What every torch mirror shares: it shows the options of its block; and how one holds others."""

from __future__ import annotations

from typing import Any

from torch import nn

from attn_ref.block import Block
from attn_ref.discovery import find


class Mirror(nn.Module):
    """A module with a ``block``. What it computes is for each mirror to say."""

    block: Block

    def extra_repr(self) -> str:
        """The options that are not as they are by default, for ``print(layer)``, which shows blocks by themselves."""
        defaults = {name: field.default for name, field in type(self.block).__dataclass_fields__.items()}
        own = {name: x for name, x in self.block.fields().items() if x != defaults[name] and not isinstance(x, Block)}
        return ", ".join(f"{name}={x!r}" for name, x in own.items())


def mirrored(block: Block | None) -> Any:
    """A new mirror of a block; None of none. ValueError where torch has no mirror."""
    if block is None:
        return None
    mirror = find(type(block).__name__, "attn_ref_torch")
    if mirror is None:
        raise ValueError(f"{type(block).__name__} has no mirror in attn_ref_torch")
    return mirror(**block.fields())
