"""What a reason is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reason:
    """A deviation, in words, and what to do about it."""

    name: str
    says: str
    fix: str
    #: the option of the block, and the value of it that the layer has, where that is the deviation
    change: tuple[str, Any] | None = None
