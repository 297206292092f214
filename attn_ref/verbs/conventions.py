"""How a layer takes what the block may be given: by which argument, of which axes, and what its values mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.inputs import split_labels
from attn_ref.trace.record import Trace
from attn_ref.verbs.calling import Call
from attn_ref.verbs.kinds import KINDS, Kind, Meaning, Sizes
from attn_ref.verbs.made import Inputs

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
        return f"{self.argument}: {self.input} ({self.axes}), {self.means.words}"

    @property
    def axes(self) -> str:
        """The form in words."""
        return ", ".join(self.form.replace("(b h)", "b·h").split()) or "one number"

    @property
    def kind(self) -> Kind:
        return KINDS[self.input]

    @property
    def means(self) -> Meaning:
        return self.kind.meanings[self.meaning]

    def arrange(self, value: np.ndarray, sizes: Sizes) -> Any:
        """The block's array, of which some axes may be 1, as the layer takes it."""
        return laid(self.means.make(value, sizes), self.means.axes or self.kind.axes, self.form)

    def canonical(self, sizes: Sizes) -> tuple[int, ...]:
        """The shape of the block's array that can be said in this form."""
        said = self.means.says or self.form
        return tuple(sizes[label] if label in said or not self.kind.broadcast else 1 for label in self.kind.axes)

    def neutral(self, sizes: Sizes) -> np.ndarray:
        """The block's array that changes nothing."""
        return self.kind.neutral(self.canonical(sizes), sizes)

    def probe(self, sizes: Sizes, seed: int) -> np.ndarray:
        """The block's array that changes something, as far as it can be said in this form."""
        shape = self.canonical(sizes)
        value = self.means.fit(self.kind.probe(shape, sizes, np.random.default_rng([seed, *shape])))
        return value if self.can_say(value) else np.full_like(value, value.flat[0])

    def can_say(self, value: np.ndarray) -> bool:
        """Does no number get lost?"""
        lost = not self.kind.broadcast and not set(self.kind.axes) <= {*self.form}
        return not lost or bool(np.all(value == value.flat[0]))


def laid(value: np.ndarray, labels: str, form: str) -> Any:
    """A value of the axes ``labels``, some of them 1, in those of ``form``; one number of Python where it has none."""
    if not form:
        return value.flat[0].item()
    for i, label in enumerate(labels):
        value = value if label in form else value.take([0], axis=i)
    size = dict(zip(labels, value.shape, strict=True)) | {"1": 1}
    return value.reshape([prod(size[label] for label in axis.strip("()").split()) for axis in split_labels(form)])


@dataclass
class With:
    """A call, and further arguments for what the block may leave out."""

    call: Call
    conventions: Sequence[Convention]
    block: Block
    #: what the layer must have: a value that changes nothing, where there is none
    needed: Sequence[Convention] = ()

    def __call__(self, inputs: Inputs) -> tuple[Sequence[Any], Mapping[str, Any]]:
        arguments, named = self.call(inputs)
        extra: dict[str, Any] = {}
        for given in {c.input: None for c in self.conventions if c.input in inputs}:
            sizes = sizes_of(self.block, given, inputs)
            one = spoken(self.conventions, given, inputs[given], sizes)
            extra[one.argument] = one.arrange(inputs[given], sizes)
        for one in self.needed:
            if one.argument not in extra:
                sizes = sizes_of(self.block, one.input, inputs)
                extra[one.argument] = one.arrange(one.neutral(sizes), sizes)
        return arguments, {**named, **extra}

    @property
    def always(self) -> Mapping[str, Any]:
        """Arguments that are always the same."""
        return getattr(self.call, "always", {})

    @property
    def takes(self) -> Sequence[str]:
        """The inputs by position."""
        return getattr(self.call, "takes", ())


def spoken(conventions: Sequence[Convention], given: str, value: np.ndarray, sizes: Sizes) -> Convention:
    """The convention that can say this value of an input. ValueError if none can."""
    for one in conventions:
        if one.input == given and one.canonical(sizes) == np.shape(value) and one.can_say(value):
            return one
    raise ValueError(f"no argument of the layer takes {given} of shape {np.shape(value)}")


def sizes_of(block: Block, given: str, inputs: Inputs) -> dict[str, int]:
    """The sizes of b, h, t, s for an input of the block: of a mask (b, h, t, s), where it is one."""

    def size(name: str, label: str) -> int:
        axes = block.inputs[name].axes
        return int(np.shape(inputs[name])[axes.index(label)]) if label in axes else 1

    first = next(iter(block.inputs))
    declared = block.inputs[given]
    heads = declared.axes[1] if len(declared.axes) > 1 else ""
    h = int(getattr(block, heads.strip("{}"))) if heads.startswith("{") else size(first, heads)
    t = size(first, "t")
    other = "memory" if "memory" in inputs else "key"
    far = "s" in (*declared.axes, declared.upto) and other in inputs
    return {"b": size(first, "b"), "h": h, "t": t, "s": size(other, "s") if far else t}
