"""What every torch mirror shares: it shows the options of its block."""

from __future__ import annotations

from torch import nn

from attn_ref.block import Block


class Mirror(nn.Module):
    """A module with a ``block``. What it computes is for each mirror to say."""

    block: Block

    def extra_repr(self) -> str:
        """The options that are not as they are by default, for ``print(layer)``."""
        defaults = {name: field.default for name, field in type(self.block).__dataclass_fields__.items()}
        return ", ".join(f"{name}={x!r}" for name, x in self.block.fields().items() if x != defaults[name])
