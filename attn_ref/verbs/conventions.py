"""How a layer takes what the block may be given: a mask or a bias, by which argument, of which axes and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.record import Trace
from attn_ref.verbs.calling import Call, Inputs

#: inputs of blocks that hide keys or are added to scores -> the axes of the scores, by the input that has them
HIDING = ("attention_mask", "memory_mask")
ADDED = ("bias",)
#: how a mask's values are meant -> (in words, made of what is to be kept)
POLARITIES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "keep": ("True means keep", lambda keep: keep),
    "drop": ("True means drop", lambda keep: ~keep),
    "1 keeps": ("1 means keep", lambda keep: keep.astype(np.int64)),
    "1 drops": ("1 means drop", lambda keep: (~keep).astype(np.int64)),
    "1.0 keeps": ("1.0 means keep", lambda keep: keep.astype(np.float64)),
    "1.0 drops": ("1.0 means drop", lambda keep: (~keep).astype(np.float64)),
    "added": ("0 means keep, −∞ drop: it is added", lambda keep: np.where(keep, 0.0, -np.inf)),
    "added, finite": ("0 means keep, −1e9 drop: it is added", lambda keep: np.where(keep, 0.0, -1e9)),
}
#: the axes that a mask may have, the usual first; 1 is an axis of one
FORMS = ("b 1 t s", "b t s", "t s", "b s", "b 1 1 s", "1 1 t s", "b h t s", "(b h) t s")
#: (call, inputs, limit of what is recorded) → what was recorded, and what came out
Run = Callable[..., tuple[Trace, list[np.ndarray]]]


@dataclass(frozen=True)
class Convention:
    """How the layer takes an input of the block: by which argument, with which axes, and what its values mean."""

    argument: str
    #: the block's input
    input: str
    form: str
    meaning: str

    def __str__(self) -> str:
        words = POLARITIES[self.meaning][0] if self.meaning in POLARITIES else self.meaning
        axes = self.form.replace("(b h)", "b·h").split()
        return f"{self.argument}: {self.input} ({', '.join(axes)}), {words}"

    def arrange(self, value: np.ndarray) -> np.ndarray:
        """The block's array, of the axes (b, h, t, s) of which some may be 1, as the layer takes it."""
        if self.meaning in POLARITIES:
            value = POLARITIES[self.meaning][1](value)
        return laid(value, self.form)

    def canonical(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of the block's array that can be said in this form."""
        axes = self.form.replace("(", "").replace(")", "").split()
        return tuple(sizes[label] if label in axes else 1 for label in "bhts")


def laid(value: np.ndarray, form: str) -> np.ndarray:
    """(b, h, t, s), some of them 1, in the axes of ``form``."""
    if form == "(b h) t s":
        return value.reshape(-1, *value.shape[2:])
    axes = form.split()
    keep = [i for i, label in enumerate("bhts") if label in axes]
    shape = iter([value.shape[i] for i in keep])
    return value.reshape([1 if label == "1" else next(shape) for label in axes])


@dataclass
class With:
    """A call, and further arguments for what the block may leave out."""

    call: Call
    conventions: Sequence[Convention]
    block: Block
    #: of which arguments a mask that hides nothing is given where there is none: the layer must have them
    needed: Sequence[str] = ()

    def __call__(self, inputs: Inputs) -> tuple[Sequence[Any], Mapping[str, Any]]:
        arguments, named = self.call(inputs)
        extra: dict[str, np.ndarray] = {}
        for given in {c.input for c in self.conventions if c.input in inputs}:
            one = spoken(self.block, self.conventions, given, inputs)
            extra[one.argument] = one.arrange(inputs[given])
        for c in self.conventions:
            if c.argument in self.needed and c.argument not in extra:
                sizes = scores_axes(self.block, c.input, inputs)
                extra[c.argument] = c.arrange(np.ones(c.canonical(sizes), bool))
        return arguments, {**named, **extra}

    @property
    def always(self) -> Mapping[str, Any]:
        """Arguments that are always the same."""
        return getattr(self.call, "always", {})

    @property
    def takes(self) -> Sequence[str]:
        """The inputs by position."""
        return getattr(self.call, "takes", ())


def spoken(block: Block, conventions: Sequence[Convention], given: str, inputs: Inputs) -> Convention:
    """The convention that can say an input of this shape. ValueError if none can."""
    sizes = scores_axes(block, given, inputs)
    for one in conventions:
        if one.input == given and one.canonical(sizes) == np.shape(inputs[given]):
            return one
    raise ValueError(f"no argument of the layer takes {given} of shape {np.shape(inputs[given])}")


def scores_axes(block: Block, given: str, inputs: Inputs) -> dict[str, int]:
    """The sizes of b, h, t, s for a mask of the block."""
    declared = block.inputs[given]
    first = next(iter(block.inputs))
    b, t = inputs[first].shape[:2]
    axes = declared.axes
    heads = int(getattr(block, axes[1].strip("{}"))) if axes[1].startswith("{") else 1
    s = t
    if axes[-1] == "s":
        other = "memory" if "memory" in inputs else "key"
        s = inputs[other].shape[1] if other in inputs else t
    return {"b": b, "h": heads, "t": t, "s": s}
