"""What is chosen in a case: option values, which inputs are given, the styles of their values, how sizes compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any, TypeVar

from attn_ref.block import Block
from attn_ref.check.cases import Case, Shaped
from attn_ref.inputs import bind, resolve

#: (what varies, its level): ("causal", "bottom_right"), ("bias", "given"), ("t, s", "t < s")
Feature = tuple[str, str]
T = TypeVar("T")
#: the features of the cases that were asked about, by the text of each without its seed
KNOWN: dict[str, frozenset[Feature]] = {}


def once(case: Case, name: str, make: Callable[[Case], T]) -> T:
    """What ``make`` tells of a case, which keeps it: a plan asks for the same many times."""
    kept = vars(case)
    if name not in kept:
        kept[name] = make(case)
    found: T = kept[name]
    return found


def level(value: Any) -> str:
    """What of an option's value is told apart: of whole numbers 0, 1 and more, of everything else the value."""
    if type(value) is int:
        return str(value) if value in (0, 1) else "< 0" if value < 0 else "> 1"
    return str(value)


def levels(fields: Mapping[str, Any], before: str = "") -> Iterator[Feature]:
    """The level of every option; of a block among them its name, and those of its own."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield before + name, value["block"]
            yield from levels(value["fields"], f"{before}{name}.")
        else:
            yield before + name, level(value)


def dims_of(case: Case, block: Block) -> dict[str, int]:
    """The size of every label."""
    return bind(block, {name: Shaped(shape, block.inputs[name].kind) for name, shape in case.shapes.items()})


def relation(case: Case) -> str:
    """Of queries and keys: "t = 1", "t < s", "t = s" or "t > s"; empty where a block has not both."""
    return once(case, "relation", _relation)


def _relation(case: Case) -> str:
    dims = dims_of(case, case.build())
    if "t" not in dims:
        return ""
    t = dims["t"]
    s = dims.get("s", t)
    return "t = 1" if t == 1 < s else "t = s" if t == s else "t < s" if t < s else "t > s"


def _features(case: Case) -> frozenset[Feature]:
    block = case.build()
    dims = dims_of(case, block)
    found = set(levels(case.fields))
    for name, spec in block.inputs.items():
        shape = case.shapes.get(name)
        if spec.optional or spec.default:
            ranked = spec.broadcast and shape is not None and len(spec.ranks or "more") > 1
            found.add((name, f"rank {len(shape or ())}" if ranked else "left out" if shape is None else "given"))
        if shape is not None and (spec.kind != "index" or not (spec.below or spec.upto)):
            found.add((f"values of {name}", case.styles[name]))
        if spec.broadcast and shape is not None and len(spec.axes) == 4:
            b, h, t = (resolve(block, axis, dims) for axis in spec.axes[:3])
            same = " = ".join(n for n, size in (("b", b), ("h", h), ("t", t)) if [b, h, t].count(size) > 1 != size)
            found.add(("equal sizes", same or "none"))
    if case.empty():
        found.add(("b", "0"))
    if how := relation(case):
        found.add(("t, s", how))
    return frozenset(found)


def features(case: Case) -> frozenset[Feature]:
    """What is chosen in a case."""
    return once(case, "features", _known)


def _known(case: Case) -> frozenset[Feature]:
    text = replace(case, seed=0).to_json()
    if text not in KNOWN:
        KNOWN[text] = _features(case)
    return KNOWN[text]


def core(case: Case) -> frozenset[Feature]:
    """What is chosen of options and inputs, coarser: of numbers their sign, of inputs that they are.

    Nothing for a block whose options need not meet three at a time (``Block.triples``).
    """
    block = case.build()
    if not block.triples:
        return frozenset()
    found = {("t, s", relation(case))}
    for name, value in case.fields.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        found.add((name, ("< 0" if value < 0 else "0" if value == 0 else "> 0") if number else str(value)))
    found |= {
        (name, "given" if name in case.shapes else "left out")
        for name, spec in block.inputs.items()
        if spec.optional or spec.default
    }
    return frozenset(found)


def pairs(found: frozenset[Feature]) -> Iterator[tuple[Feature, Feature]]:
    """Every two of a case's features."""
    return combinations(sorted(found), 2)
