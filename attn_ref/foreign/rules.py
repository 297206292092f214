"""Rules: one parameter under a foreign name and the canonical one, and the change of layout between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from attn_ref.foreign.part import Part


class Layout(NamedTuple):
    """A change of layout: from a file's to the canonical one, and back. What does not fit stays as it is."""

    inward: Callable[[Any], Any]
    outward: Callable[[Any], Any]
    #: does it put numbers in another order? Else it changes the shape alone
    turns: bool = False


class Layouts(dict[str, Layout]):
    """Layouts by name; those that have to do with heads are made for any number of them: "heads 12", "pairs 12"."""

    def __missing__(self, name: str) -> Layout:
        kind, _, count = name.rpartition(" ")
        if kind not in (*CUTS, *PAIRS) or not count.isdigit() or not int(count):
            raise KeyError(name)
        number = int(count)
        if kind in CUTS:
            self[name] = Layout(self[kind].inward, lambda x: cut(x, CUTS[kind], number))
        elif kind == "pairs":
            self[name] = Layout(lambda x: halves(x, number).T, lambda x: pairs(x.T, number), True)
        else:
            self[name] = Layout(lambda x: halves(x, number), lambda x: pairs(x, number), True)
        return self[name]


def halves(x: Any, heads: int) -> Any:
    """Features of heads along the first axis, in which neighbours turn together -> first halves with second halves."""
    if not x.ndim or x.shape[0] % (2 * heads):
        return x
    return x.reshape(heads, x.shape[0] // (2 * heads), 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def pairs(x: Any, heads: int) -> Any:
    """The way back.

    >>> halves(np.arange(8), 2).tolist(), pairs(halves(np.arange(8), 2), 2).tolist()
    ([0, 2, 1, 3, 4, 6, 5, 7], [0, 1, 2, 3, 4, 5, 6, 7])
    """
    if not x.ndim or x.shape[0] % (2 * heads):
        return x
    return x.reshape(heads, 2, x.shape[0] // (2 * heads), *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def cut(x: Any, axis: int, count: int) -> Any:
    """``axis`` in ``count`` equal parts, if it can be divided so."""
    if x.ndim <= axis or x.shape[axis] % count:
        return x
    return x.reshape(*x.shape[:axis], count, -1, *x.shape[axis + 1 :])


#: a layout that puts axes of heads and features together -> which axis is cut again
CUTS = {"heads": 1, "heads first": 0, "flat": 0}
#: layouts in which the features of a head that rotary positions turn together are neighbours: (out, in), and (out,);
#: canonical arrays have them as halves
PAIRS = ("pairs", "pairs flat")
#: "conv": (out, in, spatial…) ↔ (spatial…, in, out); "point": (out, in, 1, 1) ↔ (in, out); "batch": a first axis of 1,
#: which canonical arrays have not; "row": (n,) ↔ (1, n)
LAYOUTS = Layouts({
    "none": Layout(lambda x: x, lambda x: x),
    "transpose": Layout(lambda x: x.T, lambda x: x.T, True),
    "conv": Layout(
        lambda x: x.transpose(*range(2, x.ndim), 1, 0) if x.ndim > 1 else x,
        lambda x: x.transpose(x.ndim - 1, x.ndim - 2, *range(x.ndim - 2)) if x.ndim > 1 else x,
        True,
    ),
    "point": Layout(
        lambda x: x.reshape(x.shape[:2]).T if x.ndim > 2 and x.shape[2:] == (1,) * (x.ndim - 2) else x,
        lambda x: x.T[..., None, None] if x.ndim == 2 else x,
        True,
    ),
    "batch": Layout(lambda x: x[0] if x.shape[:1] == (1,) else x, lambda x: x[None]),
    "row": Layout(lambda x: x[None] if x.ndim == 1 else x, lambda x: x[0] if x.shape[:1] == (1,) else x),
    # several axes of heads and features: the first axis is kept, or the last; whoever writes gives the shape, or says
    # behind the name how many heads there are: "heads 12"
    "heads": Layout(lambda x: x.reshape(x.shape[0], -1), lambda x: x),
    "heads first": Layout(lambda x: x.reshape(-1, x.shape[-1]), lambda x: x),
    "flat": Layout(lambda x: x.reshape(-1), lambda x: x),
})  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One parameter under both names; ``{i}``, once in each, stands for the same number."""

    foreign: str
    canonical: str
    layout: str = "none"
    #: which part of the foreign tensor it is; None: all of it
    part: Part | None = None

    def __post_init__(self) -> None:
        try:
            LAYOUTS[self.layout]
        except KeyError:
            known = ", ".join(LAYOUTS)
            raise ValueError(f"rule for {self.foreign}: layout should be one of {known}; got {self.layout!r}") from None


def shape_in(shape: tuple[int, ...], rule: Rule) -> tuple[int, ...]:
    """The canonical shape of a file's, of the part that the rule is of."""
    shape = rule.part.shape(shape) if rule.part else shape
    return LAYOUTS[rule.layout].inward(np.broadcast_to(np.False_, shape)).shape  # takes no memory, whatever the shape


def shape_out(shape: tuple[int, ...], rule: Rule) -> tuple[int, ...]:
    """The shape of a file's whole tensor of a canonical one."""
    shape = LAYOUTS[rule.layout].outward(np.broadcast_to(np.False_, shape)).shape
    return rule.part.whole(shape) if rule.part else shape


def part_of(x: Any, part: Part | None) -> Any:
    """That part of a file's tensor."""
    return x if part is None else part.take(x)


@cache
def snake(name: str) -> str:
    """'MultiHeadAttention' → 'multi_head_attention', by the rule of ``keras.src.utils.naming``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def packed(foreign: str, canonical: tuple[str, ...], parts: Sequence[Part], bias: bool = True) -> tuple[Rule, ...]:
    """The rules of linear layers that are kept as one, its ``weight`` as (out, in) and its ``bias``."""
    kernels = (
        Rule(f"{foreign}.weight", f"{name}.kernel", "transpose", part)
        for name, part in zip(canonical, parts, strict=True)
    )
    biases = (Rule(f"{foreign}.bias", f"{name}.bias", part=part) for name, part in zip(canonical, parts, strict=True))
    return (*kernels, *(biases if bias else ()))


def linear(foreign: str, canonical: str) -> tuple[Rule, ...]:
    """The rules of a linear layer that keeps ``weight`` as (out, in) and ``bias``."""
    return Rule(f"{foreign}.weight", f"{canonical}.kernel", "transpose"), Rule(f"{foreign}.bias", f"{canonical}.bias")


def norm(foreign: str, canonical: str) -> tuple[Rule, ...]:
    """The rules of a layer norm that keeps ``weight`` and ``bias``."""
    return Rule(f"{foreign}.weight", f"{canonical}.scale"), Rule(f"{foreign}.bias", f"{canonical}.offset")


def conv(foreign: str, canonical: str) -> tuple[Rule, ...]:
    """The rules of a convolution that keeps ``weight`` as (out, in, spatial…) and ``bias``."""
    return Rule(f"{foreign}.weight", f"{canonical}.kernel", "conv"), Rule(f"{foreign}.bias", f"{canonical}.bias")


def pointwise(foreign: str, canonical: str) -> tuple[Rule, ...]:
    """The rules of a linear layer that is kept as a convolution of 1 × 1: ``weight`` (out, in, 1, 1) and ``bias``."""
    return Rule(f"{foreign}.weight", f"{canonical}.kernel", "point"), Rule(f"{foreign}.bias", f"{canonical}.bias")


def batch_norm(foreign: str, canonical: str) -> tuple[Rule, ...]:
    """The rules of a batch norm of torch's."""
    names = {"weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "variance"}
    return tuple(Rule(f"{foreign}.{here}", f"{canonical}.{there}") for here, there in names.items())
