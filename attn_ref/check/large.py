"""A few cases of large and odd sizes, and of extreme values, and how much a case is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from attn_ref.block import Block, Pick
from attn_ref.check.cases import Case, draw
from attn_ref.check.features import dims_of
from attn_ref.check.pool import Steered, plain_cases, sized
from attn_ref.tap import record

#: sizes of the large cases, beyond 64 keys, tables of 128, 1024 and 2048 places, and batches of 8
LARGE = (
    {"t": 65, "s": 65, "b": 2},
    {"t": 5, "s": 129, "b": 1},
    {"t": 129, "s": 7, "b": 1},
    {"t": 1, "s": 2049, "b": 1},
    {"t": 1025, "s": 3, "b": 1},
    {"t": 2051, "s": 3, "b": 1},
    {"t": 2, "s": 3, "b": 17},
)
#: the same of an axis of space, one of several
WIDE = (33, 65)
#: numbers for every two places of one example: a large case has no more, as 1,025 places that see each other
SCORES = 2**21


def large_cases(cls: type[Block]) -> Iterator[Case]:
    """Large and odd sizes, one axis at a time, everything else plain, inputs left out and given; then two of space."""
    labels = {label for spec in cls.inputs.values() for label in spec.labels.split() if label[0].isalpha()}
    spatial = [label for label in sorted(labels) if label[0].isupper() and label not in cls.fixed]
    seen: set[str] = set()
    for n, wanted in enumerate(LARGE):
        given = {label: size for label, size in wanted.items() if label in labels}
        if not any(size > 16 for size in given.values()):
            continue
        for with_inputs in (True, False):
            pick = Steered({}, f"{cls.__name__} large {n}")
            block = cls.sample(pick)
            room = {field: given[label] for label, field in cls.limits.items() if label in given}
            block = replace(block, **{f: size for f, size in room.items() if size > (getattr(block, f) or size)})
            case = draw(block, Given(pick, with_inputs), 0, in_order, sized(given, small, free=True))
            dims = dims_of(case, block)
            large = any(dims.get(label) == size > 16 for label, size in given.items())  # keys may be those of queries
            if large and scores(cls, dims) <= SCORES and case.to_json() not in seen:
                seen.add(case.to_json())
                yield case
    for size, label in zip(WIDE, (spatial[0], spatial[-1]) if spatial else (), strict=False):
        pick = Steered({}, f"{cls.__name__} wide {label}")
        yield draw(cls.sample(pick), pick, 0, sizes=sized({label: size, "b": 1}, small, free=True))


def extreme_cases(cls: type[Block]) -> Iterator[Case]:
    """Plain cases with so large values that e to their power is infinite, one for each activation, gate or norm.

    What is written with such a power gives NaN in its gradient, where its value is right.
    """
    seen: set[str] = set()
    for changes, case in plain_cases(cls):
        words = str([x for x in case.fields.values() if isinstance(x, str)])
        if len(changes) < 2 and words not in seen and not case.empty():
            seen.add(words)
            styles = {n: "extreme" if cls.inputs[n].kind == "real" else style for n, style in case.styles.items()}
            yield replace(case, styles=styles)


def scores(cls: Any, dims: Mapping[str, int]) -> int:
    """How many numbers there are for every two places of one example; 0 of a block that compares no two places."""
    queries = dims.get("t", 0)
    return queries * dims.get("s", queries) if sees_pairs(cls) else 0


def load(case: Case) -> int:
    """How much a case is: the values of its inputs, and the numbers for every two places of an example."""
    block = case.build()
    return case.size() + scores(type(block), dims_of(case, block))


@cache
def sees_pairs(cls: Any) -> bool:
    """Has the block, or one inside it, a tap of all its queries by all its keys?"""
    case = next(plain_cases(cls))[1]
    dims = dims_of(case, case.build())
    with record() as taps:
        case.build()(case.weights(), **case.inputs())
    both = (dims.get("t", 0), dims.get("s", dims.get("t", 0)))
    return any(labels.endswith("t s") and np.shape(value)[-2:] == both for value, labels in taps.values())


class Given:
    """``pick``, and whether inputs that may be left out are ``given``."""

    def __init__(self, pick: Pick, given: bool) -> None:
        self.pick, self.given = pick, given

    def __call__(self, *options: Any) -> Any:
        return not self.given if options == (True, False) else self.pick(*options)


def in_order(*options: Any) -> Any:
    """The style of a large case: positions one after the other, so that every distance occurs; all else plain."""
    return options[-1] if options[-1] == "in order" else options[0]


def small(*options: int) -> int:
    """The second smallest."""
    return sorted(set(options))[:2][-1]
