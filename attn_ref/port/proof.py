"""What a proof consists of: the two ends of a conversion against the reference, tap by tap.

They are judged as ``check`` judges an engine, within a tolerance that is derived from rounding.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.check.gaps import gaps_for, units
from attn_ref.check.judge import measured, settle
from attn_ref.check.tolerance import LIMIT, Truth
from attn_ref.tap import Tapped, is_keep

#: on which files are run, and on which examples are likely to have been recorded
ENGINES = ("torch", "tensorflow")
#: an error up to so many times what rounding explains agrees; float64 throughout
BOUND = LIMIT["float64"]


@dataclass
class Row:
    """A tap: how far the row of it that is worst is off, and by how much rounding explains that.

    ``scale`` is the largest value of the reference; ``unit`` is σ and what belongs to it, and ``ratio`` error / unit.
    """

    tap: str
    error: float
    scale: float
    ok: bool
    unit: float = 0.0
    ratio: float = 0.0
    #: what is wrong, in words
    detail: str = ""


@dataclass
class End:
    """One end of a proof, tap by tap in order of computation."""

    side: str
    by: str = ""
    rows: list[Row] = field(default_factory=list)
    #: why it could not be run
    failure: str | None = None
    #: an error up to so many units agrees
    bound: float = BOUND

    @property
    def first(self) -> str | None:
        """The first tap that differs: the diagnosis."""
        return next((row.tap for row in self.rows if not row.ok), None)

    @property
    def ok(self) -> bool:
        return self.failure is None and bool(self.rows) and self.first is None

    @property
    def worst(self) -> float:
        """The largest difference relative to the largest value at its tap."""
        shares = [row.error / row.scale if row.scale else row.error for row in self.rows]
        return max((share if np.isfinite(share) else float("inf") for share in shares), default=0.0)

    @property
    def ratio(self) -> float:
        """The largest difference in units of what rounding explains."""
        return max((row.ratio for row in self.rows), default=0.0)


@dataclass
class Proof:
    """What both ends gave against the reference."""

    seed: int
    inputs: dict[str, tuple[int, ...]]
    ends: list[End]
    bound: float = BOUND
    #: field -> who says it, where no file does: if it is wrong, it is wrong at both ends alike
    believed: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return all(end.ok for end in self.ends)

    def to_json(self) -> dict[str, Any]:
        """The proof as plain data."""
        ends = []
        for end in self.ends:
            rows = [{**asdict(row), "error": finite(row.error), "ratio": finite(row.ratio)} for row in end.rows]
            worst = {"worst": finite(end.worst), "ratio": finite(end.ratio)}
            told = {"taps": len(rows), **worst, "first_difference": end.first}
            ends.append(
                {
                    "side": end.side,
                    "by": end.by,
                    "ok": end.ok,
                    **told,
                    "failure": end.failure,
                    "rows": rows,
                    "bound": end.bound,
                }
            )
        proof: dict[str, Any] = {"ok": self.ok, "bound": self.bound, "seed": self.seed, "inputs": self.inputs}
        return {**proof, "believed": self.believed, "ends": ends}


def finite(number: float) -> float | None:
    """JSON has no infinity: it becomes null."""
    return number if np.isfinite(number) else None


def judge(side: str, folder: Path, code: int, right: Truth) -> End:
    """Compare what the process left in ``folder`` with the reference."""
    if not (folder / "result.json").exists():
        last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
        return End(side, failure=f"its process ended with code {code}: {' '.join(last)}")
    result = json.loads((folder / "result.json").read_text())
    if "error" in result:
        return End(side, failure=result["error"])
    with np.load(folder / "taps.npz", allow_pickle=False) as arrays:
        got = {name.removeprefix("tap/"): arrays[name] for name in arrays.files}
    end = End(side, result["by"])
    if strange := [name for name in got if name not in right.taps]:
        end.failure = f"it has taps that the reference has not: {', '.join(strange)}"
        return end
    seen = {name: Tapped(value, result["labels"].get(name, "")) for name, value in got.items()}
    settle(right, seen, BOUND)
    # the keep of a dropout is 1 at every end, which says nothing
    end.rows = [compare(name, seen[name], right) for name in right.taps if name in seen and not is_keep(name)]
    return end


def known_gaps(dtype: str) -> dict[str, float]:
    """Primitive -> unit roundoff, where any of the frameworks has a known gap in ``dtype``."""
    return units(gap for engine in ENGINES for gap in gaps_for(engine, dtype))


def compare(name: str, got: Tapped, right: Truth, bound: float = BOUND) -> Row:
    """How far ``got`` is from the reference; another shape, NaN and infinity count as infinitely far.

    Where both are the same infinity, as where a mask hides a score, they agree.
    """
    want, unit = right.taps[name], right.unit[name]
    scale = float(np.max(np.abs(want.value), initial=0.0, where=np.isfinite(want.value)))
    error, share, ratio, _, said = measured(got, want, unit, bound)
    return Row(name, error, scale, ratio <= bound, share, ratio, said)
