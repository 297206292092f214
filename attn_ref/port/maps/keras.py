"""Keras' ``.weights.h5`` of the functional model around the mirror of any block (``attn_ref_keras.functional``).

Keras 3 names a dataset by attributes, not by layer names (``keras/src/saving/saving_lib.py``): ``layers`` of the
model, the class of the layer in snake case, the attribute path inside it, ``vars``, and the number of the variable in
its layer in order of creation. Members of a list have the name of their class, the second of a kind a ``_1`` behind it;
of a list of Keras' own layers the class follows from the parameters.
A layer that is saved on its own, by ``keras.saving.save_weights``, has the same names without the first two parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attn_ref.block import Block
from attn_ref.port.mapping import Map, Rule, snake


def derive(block: Block) -> Iterator[Rule]:
    """``layers.1.attention.query.bias`` ↔ ``layers/encoder_layer_1/attention/query/vars/1``."""
    made: dict[str, int] = {}
    for name in block.params():
        *path, _ = name.split(".")
        layer = "/".join([*attributes(block, path, name), "vars"])
        made[layer] = made.get(layer, -1) + 1
        yield Rule(f"{layer}/{made[layer]}", name)


def attributes(block: Block, path: list[str], name: str) -> Iterator[str]:
    """The parts of a canonical path as Keras has them."""
    here: Any = block
    for i, part in enumerate(path):
        if not part.isdigit():
            here = getattr(here, part, None)
            yield part
            continue
        if not isinstance(here, tuple | list):
            kind = leaf(block, ".".join(path[: i + 1]))
            if kind is None:
                raise ValueError(f"map keras has no rule for {name}: {part} is a member of a list that holds no blocks")
            yield kind + (f"_{part}" if int(part) else "")  # such lists hold layers of one kind
            continue
        before, here = here[: int(part)], here[int(part)]
        same = sum(type(other) is type(here) for other in before)
        yield snake(type(here).__name__) + (f"_{same}" if same else "")


def leaf(block: Block, path: str) -> str | None:
    """Keras' name of the layer that holds the parameters at ``path``; None if they are not those of one."""
    own = {name.removeprefix(f"{path}."): p for name, p in block.params().items() if name.startswith(f"{path}.")}
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
