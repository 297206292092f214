"""How fast a layer's output changes along a direction: as its framework says, and as differences say."""

from __future__ import annotations

from dataclasses import dataclass

#: half of the distance between the two points of a difference
STEP = 1e-5


@dataclass(frozen=True)
class Slope:
    """Of a parameter or an input: the slope that the framework says, None where it gives no gradient, and that is."""

    name: str
    told: float | None
    found: float
    trains: bool = True

    def off(self) -> float:
        """How far the two are apart."""
        return abs((self.told or 0.0) - self.found)

    def size(self) -> float:
        """The larger of the two."""
        return max(abs(self.told or 0.0), abs(self.found))
