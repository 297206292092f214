"""What is asked of every tracer: right layers agree, and a fault is found at its tap and at the user's line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attn_ref as ar


def assert_right(layer: Any, block: Any, wired: dict[str, str], cases: int) -> None:
    """It agrees in the first case and ``cases`` more; ``wired``: what some parameters are of the layer's."""
    verdict = ar.conform(layer, block, cases=cases)
    assert verdict.ok, str(verdict)
    assert verdict.cases >= cases + 1  # one more for each argument that is understood
    assert verdict.worst is not None
    assert verdict.worst < 16
    assert not verdict.notes, verdict.notes
    assert {name: verdict.wiring[name] for name in wired} == wired


def assert_found(layer: Any, block: Any, taps: str, reason: str, file: Path, text: str, cases: int) -> None:
    """It is told at one of ``taps``, for one of the reasons if any, at a line of ``file`` that holds ``text``."""
    verdict = ar.conform(layer, block, cases=cases)
    assert not verdict.ok
    assert verdict.first in taps.split("|"), str(verdict)
    assert not reason or verdict.trap in reason.split("|"), str(verdict)
    assert verdict.line is not None
    assert verdict.line.startswith(str(file)), "the line is the user's"
    assert text in verdict.places[0].line.code, str(verdict)  # type: ignore[union-attr]
