"""Keras' ``.weights.h5`` of the functional model around the mirror of any block (``attn_ref_keras.functional``).

Keras 3 names a dataset by attributes, not by layer names (``keras/src/saving/saving_lib.py``): ``layers`` of the
model, the class of the layer in snake case, the attribute path inside it, ``vars``, and the number of the variable in
its layer in order of creation. Members of a list have the name of their class, the second of a kind a ``_1`` behind it;
of a list of Keras' own layers the class follows from the parameters.
A layer that is saved on its own, by ``keras.saving.save_weights``, has the same names without the first two parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attn_ref.block import Block, Param
from attn_ref.foreign.map import Map
from attn_ref.foreign.rules import Rule, snake


def derive(block: Block) -> Iterator[Rule]:
    """``layers.1.attention.query.bias`` ↔ ``layers/encoder_layer_1/attention/query/vars/1``."""
    names, made = Names(block), dict[str, int]()
    for name in block.params():
        path, _, _ = name.rpartition(".")
        layer = f"{names.of(path)}/vars" if path else "vars"
        made[layer] = made.get(layer, -1) + 1
        yield Rule(f"{layer}/{made[layer]}", name)


class Names:
    """Keras' paths of a block's layers, each found once."""

    def __init__(self, block: Block) -> None:
        self.block = block
        #: canonical path -> the parameters just below it, by leaf
        self.leaves: dict[str, dict[str, Param]] = {}
        for name, param in block.params().items():
            path, _, leaf = name.rpartition(".")
            self.leaves.setdefault(path, {})[leaf] = param
        self.known: dict[str, tuple[str, Any]] = {"": ("", block)}
        self.lists: dict[str, list[str]] = {}

    def of(self, path: str) -> str:
        """``layers.1.attention`` → ``layers/encoder_layer_1/attention``."""
        return self.found(path)[0]

    def found(self, path: str) -> tuple[str, Any]:
        """The same, and the block or list of blocks there, or None."""
        if path not in self.known:
            above, _, part = path.rpartition(".")
            there, here = self.found(above)
            if part.isdigit() and isinstance(here, tuple | list):
                name, here = self.members(above, here)[int(part)], here[int(part)]
            elif part.isdigit():
                name, here = self.member(path, int(part)), None
            else:
                name, here = part, getattr(here, part, None)
            self.known[path] = (f"{there}/{name}" if there else name, here)
        return self.known[path]

    def members(self, path: str, blocks: Sequence[Block]) -> list[str]:
        """The names of the blocks in a list, which are those of their classes, numbered by class."""
        if path not in self.lists:
            made: dict[str, int] = {}
            self.lists[path] = []
            for block in blocks:
                kind = snake(type(block).__name__)
                self.lists[path].append(kind + (f"_{made[kind]}" if kind in made else ""))
                made[kind] = made.get(kind, 0) + 1
        return self.lists[path]

    def member(self, path: str, i: int) -> str:
        """The name of a member of a list of Keras' own layers, which are of one kind."""
        kind = self.leaf(path)
        if kind is None:
            raise ValueError(f"map keras has no rule for {path}: it is a member of a list that holds no blocks")
        return kind + (f"_{i}" if i else "")

    def leaf(self, path: str) -> str | None:
        """Keras' name of the layer that holds the parameters just below ``path``; None if they are not those of one."""
        own = self.leaves.get(path, {})
        if own.keys() == {"scale", "offset", "mean", "variance"}:
            return "batch_norm"
        if "kernel" in own and own.keys() <= {"kernel", "bias"}:
            return {2: "dense", 3: "conv1d", 4: "conv2d", 5: "conv3d"}.get(len(own["kernel"].shape))
        return None


MAP = Map(
    name="keras",
    summary="weights of the functional Keras model around the mirror of any block",
    formats=("keras_h5",),
    end="attn_ref_keras.ends:run_file",
    needs=("keras", "tensorflow"),
    extra="keras",
    derive=derive,
    unused={"optimizer/*": "the state of training, not a weight"},
    prefixes=("layers/{block}/", ""),
)
