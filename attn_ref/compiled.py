"""Compiled functions, kept within a process."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any


class Compiled:
    """Compiled functions by what they depend on; the one that was not used for the longest time makes room."""

    def __init__(self, most: int = 64) -> None:
        self.most, self.kept = most, dict[Hashable, Any]()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The function kept for ``key``, made by ``make`` if there is none."""
        found = self.kept.pop(key) if key in self.kept else make()
        self.kept[key] = found
        if len(self.kept) > self.most:
            del self.kept[next(iter(self.kept))]
        return found
