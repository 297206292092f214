"""Rules: one parameter under a foreign name and the canonical one, and the change of layout between them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np


class Layout(NamedTuple):
    """A change of layout: from a file's to the canonical one, and back. What does not fit stays as it is."""

    inward: Callable[[Any], Any]
    outward: Callable[[Any], Any]


#: "conv": (out, in, spatial…) ↔ (spatial…, in, out); "batch": a first axis of 1, which canonical arrays have not
LAYOUTS = {
    "none": Layout(lambda x: x, lambda x: x),
    "transpose": Layout(lambda x: x.T, lambda x: x.T),
    "conv": Layout(
        lambda x: x.transpose(*range(2, x.ndim), 1, 0) if x.ndim > 1 else x,
        lambda x: x.transpose(x.ndim - 1, x.ndim - 2, *range(x.ndim - 2)) if x.ndim > 1 else x,
    ),
    "batch": Layout(lambda x: x[0] if x.shape[:1] == (1,) else x, lambda x: x[None]),
    # several axes of heads and features: the first axis is kept, or the last; whoever writes gives the shape
    "heads": Layout(lambda x: x.reshape(x.shape[0], -1), lambda x: x),
    "heads first": Layout(lambda x: x.reshape(-1, x.shape[-1]), lambda x: x),
    "flat": Layout(lambda x: x.reshape(-1), lambda x: x),
}


@dataclass(frozen=True)
class Rule:
    """One parameter under both names; ``{i}``, once in each, stands for the same number."""

    foreign: str
    canonical: str
    layout: str = "none"
    #: (which, of how many) equal parts along the first axis of the foreign tensor it is; None: all of it
    part: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            known = ", ".join(LAYOUTS)
            raise ValueError(f"rule for {self.foreign}: layout should be one of {known}; got {self.layout!r}")


def turned_in(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The canonical shape of a file's."""
    return LAYOUTS[layout].inward(np.broadcast_to(np.False_, shape)).shape  # takes no memory, whatever the shape


def turned_out(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """A file's shape of a canonical one."""
    return LAYOUTS[layout].outward(np.broadcast_to(np.False_, shape)).shape


@cache
def snake(name: str) -> str:
    """'MultiHeadAttention' → 'multi_head_attention', by the rule of ``keras.src.utils.naming``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def linear(foreign: str, canonical: str) -> tuple[Rule, ...]:
    """The rules of a linear layer that keeps ``weight`` as (out, in) and ``bias``."""
    return Rule(f"{foreign}.weight", f"{canonical}.kernel", "transpose"), Rule(f"{foreign}.bias", f"{canonical}.bias")


def norm(foreign: str, canonical: str) -> tuple[Rule, ...]:
    """The rules of a layer norm that keeps ``weight`` and ``bias``."""
    return Rule(f"{foreign}.weight", f"{canonical}.scale"), Rule(f"{foreign}.bias", f"{canonical}.offset")


def conv(foreign: str, canonical: str) -> tuple[Rule, ...]:
    """The rules of a convolution that keeps ``weight`` as (out, in, spatial…) and ``bias``."""
    return Rule(f"{foreign}.weight", f"{canonical}.kernel", "conv"), Rule(f"{foreign}.bias", f"{canonical}.bias")
