"""Two layers held to one block, and its taps in both, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attn_ref.block import Block
from attn_ref.verbs.calling import Call
from attn_ref.verbs.comparison import Comparison, Row
from attn_ref.verbs.conform import conform
from attn_ref.verbs.verdict import Verdict


def held_to_block(
    found: Comparison, a: Any, b: Any, block: Block, call: Call | None, call_b: Call | None, cases: int, seed: int,
    frameworks: tuple[str, str], tell: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Enter the verdicts and the taps; give the inputs and the calls by which both were held to the block."""
    verdicts = []
    for name, layer, how, framework in zip("ab", (a, b), (call, call_b or call), frameworks, strict=True):
        tell(f"holding {name} to the block")
        verdicts.append(conform(layer, block, call=how, cases=cases, seed=seed, framework=framework, tell=tell))
    first, second = verdicts
    found.verdicts = first, second
    found.taps = rows(first, second)
    found.ok = first.ok and second.ok
    if not found.ok:
        at = parting_tap(first, second)
        said = f"{at} is the first that one alone has" if at else "none tells them apart"
        found.notes.append(f"of the block's taps, {said}")
    making = [verdict.making for verdict in verdicts]
    if not all(making):
        return {}
    return {"inputs": first.given, "calls": ([making[0]], [making[1]])}


def rows(a: Verdict, b: Verdict) -> list[Row]:
    """The taps of the block in both, in order."""
    return [Row(name, a.steps.get(name), b.steps.get(name)) for name in dict.fromkeys([*a.steps, *b.steps])]


def parting_tap(a: Verdict, b: Verdict) -> str | None:
    """The first tap at which exactly one parts from the block."""
    if a.ok != b.ok:
        return (b if a.ok else a).first
    if not a.ok and a.first != b.first:
        order = list(dict.fromkeys([*a.steps, *b.steps]))
        return min(
            (one.first for one in (a, b) if one.first), key=lambda tap: order.index(tap) if tap in order else 999
        )
    return None
