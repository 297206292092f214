"""The contract: what a mirror promises besides its values. One case of a block and engine is held to all of it.

A promise that is broken is a difference of kind "contract", and names the promise.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from attn_ref.backend import Slot
from attn_ref.block import Block
from attn_ref.check.judge import Outcome
from attn_ref.implementation import Implementation
from attn_ref.weights import start_of
from attn_ref.wording import printable


def hold(outcome: Outcome, backend: Implementation, block: Block, dtype: str, inputs: dict[str, np.ndarray]) -> None:
    """Enter the first promise that is broken."""
    try:
        layer = backend.build(block, dtype)
        problems = {"defaults": defaults(layer, block), **of_parameters(backend.slots(layer), block)}
        problems |= backend.promises(block, dtype, inputs)
    except Exception as error:  # whatever a framework throws is a finding about it
        problems = {"promises": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    for name, problem in problems.items():
        if problem:
            outcome.worst = float("inf")
            outcome.differs("contract", "contract", printable(f"{name}: {problem}", 400))


def defaults(layer: Any, block: Block) -> str:
    """Has its constructor every option of the block, with the same default, if it has any of them by name?"""
    given = inspect.signature(type(layer)).parameters
    if not any(field.name in given for field in fields(block)):
        return ""
    for field in fields(block):
        if field.name not in given:
            return f"the option {field.name} is missing"
        wanted = inspect.Parameter.empty if field.default is MISSING else field.default
        got = given[field.name].default
        if got is not wanted and (type(got), got) != (type(wanted), wanted):
            return f"{field.name} is {got!r} unless it is given, and {wanted!r} in the definition"
    return ""


def of_parameters(slots: Mapping[str, Slot], block: Block) -> dict[str, str]:
    """What a new layer's parameters are: those that train, and those that start at a number."""
    trained, started = [], []
    for name, param in block.params().items():
        if name not in slots:
            continue  # loading says so
        slot, start = slots[name], start_of(name, param)
        if slot.trains != param.trainable:
            trained.append(f"{name} {'trains' if slot.trains else 'does not train'}")
        # a layer may have been made in float32 and turned to its dtype
        if start is not None and not np.all(np.isin(value := slot.get(), np.array([start, np.float32(start)]))):
            started.append(f"{name} starts at {float(value.flat[0]):g}, not at {start:g}")
    return {"what trains": ", ".join(trained), "initial state": ", ".join(started)}
