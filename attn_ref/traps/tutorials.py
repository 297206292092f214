"""Traps of the seed systems: what is given, and what stands at taps, where tutorials deviate.

They take parameters, so they are functions that make a trap. ``attn_ref.seeds`` applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import Tapped, record
from attn_ref.traps.definition import Inputs, Trap
from attn_ref.weights import uniform


def taps_of(block: Block, weights: Mapping[str, Any], inputs: Inputs, *endings: str) -> dict[str, Tapped]:
    """The reference's taps whose last name is one of ``endings``."""
    with record() as taps:
        block(weights, **inputs)
    return {name: seen for name, seen in taps.items() if name.rpartition(".")[2] in endings}


def keep(shape: tuple[int, ...], rate: float, *seed: int | str) -> np.ndarray:
    """A seeded keep of a dropout: 0 or 1 / (1 − rate)."""
    return (uniform(shape, *seed) > 2 * rate - 1) / (1 - rate)


def always_dropping(rate: float, seed: int = 0) -> Trap:
    """Dropout of the weights and of the output, in evaluation too."""

    def replace(block: Block, weights: Mapping[str, Any], inputs: Inputs) -> dict[str, Tapped]:
        found = taps_of(block, weights, inputs, "keep")
        return {name: Tapped(keep(x.shape, rate, seed, name), labels) for name, (x, labels) in found.items()}

    return Trap(
        name="always-dropping",
        says=f"dropout of {rate:g} acts on weights and output in evaluation too (seed {seed} says on which)",
        replace=replace,
        output=lambda y: y * keep(y.shape, rate, seed, "output"),
    )


def dropping_only(*places: str) -> Trap:
    """No dropout but those whose keep is a tap of ``places`` in a layer: the others keep everything."""

    def replace(block: Block, weights: Mapping[str, Any], inputs: Inputs) -> dict[str, Tapped]:
        keeps = taps_of(block, weights, inputs, "keep", "keep_attention", "keep_feed_forward")
        own = tuple(f".{place}" for place in places)
        others = {name: seen for name, seen in keeps.items() if not f".{name}".endswith(own)}
        return {name: Tapped(np.ones_like(x), labels) for name, (x, labels) in others.items()}

    return Trap(name="dropping-only", says=f"of all dropouts only {' and '.join(places)}", replace=replace)


def uniform_where_nothing_is_kept() -> Trap:
    """Masking by a large finite number: a row with nothing to attend to takes the mean of all values."""

    def add(block: Block, weights: Mapping[str, Any], inputs: Inputs) -> dict[str, Tapped]:
        found = taps_of(block, weights, inputs, "weights")
        return {
            name: Tapped(np.broadcast_to(~x.any(-1, keepdims=True) / x.shape[-1], x.shape), labels)
            for name, (x, labels) in found.items()
        }

    return Trap(
        name="uniform-where-nothing-is-kept",
        says="masked scores are a large negative number instead of left out, so a row with nothing kept is uniform",
        add=add,
    )


def mask_of_numbers(drop: float, rank: int | None = None) -> Trap:
    """A mask of numbers, of which ``drop`` means drop. ``rank``: the mask's, padded with axes of size 1 before."""

    def inputs(given: Inputs) -> Inputs:
        if "mask" not in given:
            return given
        rest = {name: x for name, x in given.items() if name != "mask"}
        mask = given["mask"] != drop
        return rest | {"attention_mask": mask if rank is None else mask.reshape((1,) * (rank - mask.ndim) + mask.shape)}

    return Trap(name=f"mask-{drop:g}-drops", says=f"the mask is of numbers, and {drop:g} means drop", inputs=inputs)


def mask_added(amount: float = -1e9, rank: int | None = None) -> Trap:
    """A mask of numbers, 1 meaning drop, that is multiplied by a large negative number and added to the scores."""

    def inputs(given: Inputs) -> Inputs:
        if "mask" not in given:
            return given
        rest = {name: x for name, x in given.items() if name != "mask"}
        bias = given["mask"] * amount
        return rest | {"bias": bias if rank is None else bias.reshape((1,) * (rank - bias.ndim) + bias.shape)}

    return Trap(name="mask-added", says=f"the mask, 1 meaning drop, is added as mask · {amount:g}", inputs=inputs)


def renamed(**names: str) -> Trap:
    """Inputs go by other names: ``renamed(x="query")``."""

    def inputs(given: Inputs) -> Inputs:
        return {names.get(name, name): value for name, value in given.items()}

    pairs = ", ".join(f"{theirs} is {ours}" for theirs, ours in names.items())
    return Trap(name="renamed", says=f"inputs go by other names: {pairs}", inputs=inputs)
