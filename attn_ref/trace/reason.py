"""What a reason is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: options of a block, by path, with the values that they should have
Changes = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Reason:
    """A deviation, in words, and what to do about it."""

    name: str
    says: str
    fix: str
    #: options of the block, by path, with the values that the layer has, where that is the deviation
    changes: Changes = ()
