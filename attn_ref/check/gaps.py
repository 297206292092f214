"""Known gaps: faults of the engines themselves, as data, each held to the size that was measured.

A row of ``known_gaps.toml`` says: on this engine, in this dtype, with these versions of a package, this primitive of
``attn_ref.ops`` has a larger unit roundoff than its dtype promises. The tolerance moves that primitive and its
arguments by that unit, so the engine is held to the gap and to nothing looser, and reports list the gap beside the
result. A difference is a gap only if its cause is upstream and no idiomatic call avoids it.

``tests/reproductions/<id>.py`` shows the fault without this package. A row that no longer reproduces is an error.
No framework is imported here: what is installed is read from its metadata.

>>> [gap.op for gap in gaps_for("jax", "float64", {"keras": "3.15.1"})]
['layer_norm', 'offset', 'tanh', 'cos', 'sin', 'rms_norm', 'standardised']
>>> gaps_for("jax", "float64", {"keras": "3.11.3"})
[]
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from attn_ref.foreign import peers

#: where a gap is that shows in gradients of fused calls alone
BACKWARD = "fused backward"
#: what such gaps round, which the definition does not have. Of every row flash kernels keep log Σ exp of the scores,
#: from which they restore its weights, and Σ output · its gradient, which stands for the mean that a softmax takes off
FLASH, DELTA = "logsumexp", "delta"
#: and a layer norm that is computed in a lower precision throughout rounds the gradient of its offset too
OFFSET = "offset"
TABLE = Path(__file__).with_name("known_gaps.toml")


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One row."""

    #: also the name of its reproduction and of its entry in docs/findings.md
    id: str
    #: an engine; its compiled forms (``jax`` → ``jax-…``) have the gap too
    engine: str
    #: a primitive of ``attn_ref.ops``
    op: str
    #: one, or "any"
    dtype: str
    #: the distribution whose version decides, and the versions (PEP 440) for which the gap was verified
    package: str
    versions: str
    #: the unit roundoff that the primitive really has; 0: its dtype's, where the primitive itself is unexpected
    unit: float
    #: the largest deviation that the reproduction may show, relative to max |y|
    bound: float
    reason: str
    #: where the fault is made: path:line in the newest of the versions
    upstream: str
    #: file name in tests/reproductions
    reproduction: str
    #: why no idiomatic call avoids it
    avoid: str
    #: the dtype that comes out, if it is not the layer's
    returns: str | None = None
    #: "": everywhere; "fused backward": in gradients with taps off alone
    where: str = ""

    def covers(self, installed: str | None) -> bool:
        """Was the gap verified for this version? Never for one that is not installed, nor for a pre-release."""
        return installed is not None and SpecifierSet(self.versions).contains(installed, prereleases=False)

    def problem(self, deviation: float | None, reproduces: bool) -> str | None:
        """What is wrong with the row, given what its reproduction found; None if nothing is."""
        if not reproduces:
            way_out = f"mend versions = {self.versions!r} in {TABLE.name}, or take the row out"
            return f"{self.id} no longer reproduces: {way_out}"
        if deviation is None or not deviation <= self.bound:
            return f"{self.id} deviates by {deviation}, more than bound = {self.bound} in {TABLE.name}: find out why"
        return None


@cache
def gaps() -> tuple[Gap, ...]:
    """Every row, in the order of the file."""
    rows = tuple(Gap(**row) for row in tomllib.loads(TABLE.read_text(encoding="utf-8"))["gap"])
    if len({row.id for row in rows}) < len(rows):
        raise ValueError(f"{TABLE.name}: two rows have the same id")
    return rows


def gaps_for(engine: str, dtype: str, versions: Mapping[str, str] | None = None) -> list[Gap]:
    """The gaps in force on ``engine`` in ``dtype``. ``versions``: distribution -> version; None: those installed."""
    if versions is None:
        versions = installed()
    peer = peers().get(engine)  # a layer of another library has the gaps of its framework
    names = (peer.engine,) if peer else (engine, engine.partition("-")[0])
    return [g for g in gaps() if g.engine in names and g.dtype in (dtype, "any") and g.covers(versions.get(g.package))]


def units(gaps: Iterable[Gap], where: tuple[str, ...] = ("",)) -> dict[str, float]:
    """Primitive -> the unit roundoff that it really has; the largest, where several gaps meet in one."""
    found: dict[str, float] = {}
    for gap in gaps:
        if gap.where in where:
            found[gap.op] = max(gap.unit, found.get(gap.op, 0.0))
    return found


def grants(gap: Mapping[str, Any]) -> str:
    """What a row, as a report has it, grants, in words."""
    if gap.get("where"):
        how = f"has unit roundoff {gap['unit']:.1e}" if gap["unit"] else "is rounded at the size of its result"
        return f"{how}, granted in gradients of the {gap['where'].split()[0]} path alone"
    return f"has unit roundoff {gap['unit']:.1e}"


@cache
def installed() -> dict[str, str]:
    """The version of every distribution that a row names and that is installed."""
    found = {}
    for package in {gap.package for gap in gaps()}:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
