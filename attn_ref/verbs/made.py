"""Arguments that are made anew for every call: an empty cache, the angles of rotary positions, positions from 0."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.record import inner

Inputs = Mapping[str, np.ndarray]


class Made:
    """An argument that depends on the inputs, or is another one every time."""

    def __call__(self, inputs: Inputs) -> Any:
        raise NotImplementedError

    def known(self, inputs: Inputs) -> list[np.ndarray]:
        """Values of the block that are known to who is given it."""
        return []


@dataclass(frozen=True)
class New(Made):
    """An object of a class of the user's own, such as a cache that is empty."""

    cls: type

    def __call__(self, inputs: Inputs) -> Any:
        return self.cls()

    def __str__(self) -> str:
        return f"{self.cls.__name__}()"


def fresh(function: Any) -> dict[str, type]:
    """The arguments that are objects of the user's own classes, by what their annotations say."""
    try:
        hints = get_type_hints(getattr(function, "__func__", function))
    except Exception:  # an annotation may name what is not there
        return {}
    return {name: cls for name, cls in hints.items() if isinstance(cls, type) and not inner(module_file(cls))}


def module_file(cls: type) -> str:
    """The file of the module in which a class stands; that of none is the library's."""
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or "<none>"


#: names of arguments that are (cos, sin) of the rotary angles
ROTARY = ("position_embeddings", "rotary_pos_emb", "cos_sin")
#: what of the angles layers ask for -> parts of names that suggest it
ANGLES = {
    "(cos, sin)": ("position_emb", "rotary", "rope", "cos_sin"), "cos": ("cos",), "sin": ("sin",),
    "e^i·angle": ("freqs_cis", "cis", "complex"), "angles": ("freqs", "angle", "theta"),
}  # fmt: skip
#: axes of the angles, the usual first; d: as many as features, each pair's two alike; f: one a pair
ANGLE_FORMS = (
    "b t d", "t d", "1 t d", "b 1 t d", "1 1 t d", "1 t 1 d", "t 1 d", "t f", "b t f", "1 t f", "1 1 t f", "1 t 1 f",
)  # fmt: skip


def turn_of(block: Block) -> Any:
    """The rotary embedding of a block or of its attention; None if it has none."""
    return getattr(block, "turn", None) or getattr(getattr(block, "attention", None), "turn", None)


@dataclass(frozen=True)
class Turning(Made):
    """The cosines and sines that a layer is given whose rotary positions are computed outside of it."""

    block: Block
    what: str = "(cos, sin)"
    form: str = "b t d"

    def __call__(self, inputs: Inputs) -> Any:
        b = len(inputs[next(iter(self.block.inputs))])
        turn, (angles,) = turn_of(self.block), self.known(inputs)
        if "d" in self.form:
            angles = np.tile(angles, 2) if turn.pairing == "half" else np.repeat(angles, 2, -1)
        cos, sin = (placed(f(angles), self.form.replace("f", "d"), b) for f in (np.cos, np.sin))
        made = {"(cos, sin)": (cos, sin), "cos": cos, "sin": sin, "e^i·angle": cos + 1j * sin}
        return made[self.what] if self.what in made else placed(angles, self.form.replace("f", "d"), b)

    def known(self, inputs: Inputs) -> list[np.ndarray]:
        """The angles (t, features / 2)."""
        t, turn = inputs[next(iter(self.block.inputs))].shape[1], turn_of(self.block)
        return [np.arange(t)[:, None] * turn.base ** (-np.arange(0, turn.r, 2) / turn.r) / turn.scaling]

    def __str__(self) -> str:
        form = ", ".join(self.form.split()).replace("f", "d/2")
        return f"{self.what} of its angles ({form})"


@dataclass(frozen=True)
class Counted(Made):
    """The positions of tokens from 0, for a block that is given none."""

    block: Block
    form: str

    def __call__(self, inputs: Inputs) -> np.ndarray:
        b, t = inputs[next(iter(self.block.inputs))].shape[:2]
        return placed(np.arange(t), self.form, b)

    def __str__(self) -> str:
        return f"positions from 0 ({', '.join(self.form.split())})"


def placed(x: np.ndarray, form: str, b: int) -> np.ndarray:
    """An array of the axes (t, d) or (t,) in those of ``form``."""
    given = iter(x.shape)
    shape = [next(given) if label in "td" else 1 for label in form.split()]
    wide = [b if label == "b" else size for label, size in zip(form.split(), shape, strict=True)]
    return np.broadcast_to(x.reshape(shape), wide).copy()
