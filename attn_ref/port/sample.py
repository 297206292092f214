"""Seeded inputs of a block for a proof: a case of ``check`` with every input given and no two sizes alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.check.cases import draw
from attn_ref.inputs import free_labels

#: label -> size; different ones, so that no swap of axes goes unseen
SIZES = {"b": 3, "t": 13, "s": 11, "g": 2, "r": 3, "d": 5, "e": 7}
MORE_KEYS = {"s": 19}
OTHERS = (9, 15, 17)


def sample(block: Block, seed: int, known: Sequence[Collection[str]] = ()) -> dict[str, np.ndarray]:
    """An array for every input of ``block``, optional ones too, from a seed; only those that all of ``known`` have.

    Layers of libraries give a row with nothing to attend to NaN, zeros or a mean, as ``known`` are of such layers: then
    no query is left without a key. A mask hides the first from nobody, and there are more keys than queries; of padding
    there is one token, the last.
    """
    free = [label for label in free_labels(block.inputs.values()) if label not in SIZES]
    wanted = {**SIZES, **(MORE_KEYS if known else {}), **dict(zip(free, OTHERS, strict=False))}
    for name, spec in block.inputs.items():  # an input that is never given is another, and so are its sizes
        if spec.default and any(name not in names for names in known):
            pairs = zip(spec.axes, block.inputs[spec.default].axes, strict=True)
            wanted |= {mine: wanted[other] for mine, other in pairs if other in wanted}
    limits = {label: getattr(block, field) for label, field in block.limits.items()}

    def size(label: str, *options: int) -> int:
        size = wanted.get(label, max(options))
        return min(size, limits.get(label) or size)

    inputs = draw(block, whole, seed, sizes=size).inputs()
    for names in known:
        inputs = {name: value for name, value in inputs.items() if name in names}
        if "attention_mask" in inputs:
            inputs["attention_mask"][..., 0] = True
        for mask in {"padding_mask", "source_mask"} & inputs.keys():  # a query may see few keys, and none behind it
            inputs[mask][:] = True
            inputs[mask][1:, -1] = False
    return inputs


def whole(*options: Any) -> Any:
    """Every input given, in its highest rank, no axis of it 1; otherwise the first."""
    if options == (True, False):  # is an input left out?
        return False
    return max(options) if all(type(option) is int for option in options) else options[0]
