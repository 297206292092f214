"""What a proof consists of: the two ends of a conversion against the reference, tap by tap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.tap import Tapped, apart, is_keep, transpose_to

#: largest difference that is allowed at a tap, relative to the largest value there; float64 throughout
BOUND = 1e-9


@dataclass
class Row:
    """A tap: the largest difference from the reference, and the largest value of the reference."""

    tap: str
    error: float
    scale: float
    ok: bool


@dataclass
class End:
    """One end of a proof, tap by tap in order of computation."""

    side: str
    by: str = ""
    rows: list[Row] = field(default_factory=list)
    #: why it could not be run
    failure: str | None = None

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


@dataclass
class Proof:
    """What both ends gave against the reference."""

    seed: int
    inputs: dict[str, tuple[int, ...]]
    ends: list[End]
    bound: float = BOUND

    @property
    def ok(self) -> bool:
        return all(end.ok for end in self.ends)

    def to_json(self) -> dict[str, Any]:
        """The proof as plain data."""
        ends = []
        for end in self.ends:
            rows = [{**asdict(row), "error": finite(row.error)} for row in end.rows]
            told = {"taps": len(rows), "worst": finite(end.worst), "first_difference": end.first}
            ends.append({"side": end.side, "by": end.by, "ok": end.ok, **told, "failure": end.failure, "rows": rows})
        return {"ok": self.ok, "bound": self.bound, "seed": self.seed, "inputs": self.inputs, "ends": ends}


def finite(number: float) -> float | None:
    """JSON has no infinity: it becomes null."""
    return number if np.isfinite(number) else None


def judge(side: str, folder: Path, code: int, reference: Mapping[str, Tapped]) -> End:
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
    if strange := [name for name in got if name not in reference]:
        end.failure = f"it has taps that the reference has not: {', '.join(strange)}"
        return end
    for name, (wanted, labels) in reference.items():
        # the keep of a dropout is 1 at every end, which says nothing
        if name in got and not is_keep(name):
            end.rows.append(compare(name, transpose_to(got[name], result["labels"].get(name, ""), labels), wanted))
    return end


def compare(name: str, got: np.ndarray, wanted: np.ndarray) -> Row:
    """How far ``got`` is from ``wanted``; another shape, NaN and infinity count as infinitely far.

    Where both are the same infinity, as where a mask hides a score, they agree.
    """
    scale = float(np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted)))
    if got.shape != wanted.shape:
        return Row(name, float("inf"), scale, False)
    error = float(np.max(np.abs(apart(got.astype(np.float64), wanted)), initial=0.0))
    error = error if np.isfinite(error) else float("inf")
    return Row(name, error, scale, error <= BOUND * scale)
