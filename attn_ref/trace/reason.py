"""What a reason is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """A deviation, in words, and what to do about it."""

    name: str
    says: str
    fix: str
