"""Why two models part: a setting of the two layers that differs, if the target goes on as the source with the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from attn_ref.ops.activation import GATED
from attn_ref.trace.meet import Value, equal

if TYPE_CHECKING:
    from attn_ref.live.search import Rules, Search
    from attn_ref.live.seen import Seen

#: functions that are told by their values
KNOWN: dict[str, Callable[[Any], Any]] = {
    **GATED,
    "quick gelu": lambda x: x * GATED["sigmoid"](1.702 * x),
    "tanh": np.tanh,
}
#: settings by one name, in either framework
SETTINGS = {
    "eps": "eps", "epsilon": "eps", "approximate": "approximate", "padding": "padding", "stride": "stride",
    "strides": "stride", "dilation": "dilation", "dilation_rate": "dilation", "groups": "groups", "num_heads": "heads",
    "negative_slope": "negative slope", "alpha": "alpha", "axis": "axis", "activation": "activation",
    "output_padding": "output padding", "data_format": "data format", "kernel_size": "kernel size",
    "pool_size": "kernel size", "ceil_mode": "ceil mode", "head_dim": "head width", "key_dim": "head width",
}  # fmt: skip


def cause(search: Search, chosen: Rules, seen: Seen, layers: tuple[str, str]) -> str:
    """In words; empty where none is known."""
    ours = told(search.source.live.settings(search.source.model, layers[0]))
    its = told(search.target.live.settings(search.target.model, layers[1]))
    for name in ours:
        if name not in its:
            continue
        (_, mine), (asked, other) = ours[name], its[name]
        if same(mine, other):
            continue
        said = f"{name} is {mine!r} in the source and {other!r} in the target"
        if name == "eps" or type(mine) is type(other):
            proof = tried(search, chosen, seen, layers[1], asked, mine, other)
            if proof:
                return f"{said}; with {mine!r} the target goes on as the source"
        elif name == "padding":
            return said
    return activation(seen)


def activation(seen: Seen) -> str:
    """That the two are other functions of one value, where they are known ones."""
    first, second = seen.parting.a, seen.parting.b
    if first is None or second is None:
        return ""
    found: list[str] = []
    pairs = [(one, its) for one, its in seen.found[1] if one.record.number in seen.has[1]]
    for one, its in reversed(pairs):
        if one.value.size != second.value.size or second.record.number not in seen.target.side.below(
            {one.record.number}
        ):
            continue
        mine = named(its.value, seen.source.side.values)
        other = named(one.value, seen.target.side.values)
        found = [mine, other] if mine and other and mine != other else found
    return f"the source takes {found[0]} here, the target {found[1]}" if found else ""


def named(x: np.ndarray, values: Iterable[Value]) -> str:
    """The known function of ``x`` that is among the values; empty for none."""
    with np.errstate(all="ignore"):
        for name, function in KNOWN.items():
            y = function(x)
            if any(one.value.shape == y.shape and equal(one.value, y) for one in values):
                return name
    return ""


def told(settings: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Setting by its common name -> (its own name, value)."""
    return {SETTINGS[name]: (name, value) for name, value in settings.items() if name in SETTINGS}


def same(one: Any, other: Any) -> bool:
    """Do two settings mean the same, one number for several that are alike?"""
    first, second = (tuple(x) if isinstance(x, list | tuple) else (x,) for x in (one, other))
    if len(first) != len(second) and 1 in (len(first), len(second)):
        first, second = first * len(second), second * len(first)
    if any(isinstance(x, str) for x in first) != any(isinstance(x, str) for x in second):
        return set(first) | set(second) in ({0, "valid"},)
    return first == second


def tried(
    search: Search, chosen: Rules, seen: Seen, layer: str, name: str, value: Any, before: Any
) -> bool:  # fmt: skip
    """Has the target more of the source's values if its layer is told that?"""
    live, twin, model = search.target.live, search.target.twin, search.target.model
    try:
        live.tell(twin, model, layer, name, value)
        now = search.run(chosen)
        live.tell(twin, model, layer, name, before)
        return now.score > search.run(chosen).score
    except Exception:  # a layer may not let itself be told
        return False
