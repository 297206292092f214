"""What a block may be given besides its first inputs, and how layers take it: masks, biases, lengths, offsets.

For every input of a block that may be left out: its axes, the forms in which layers take it, what its values may mean,
and what changes nothing. All of it is data; nothing else knows one of these inputs by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from attn_ref.block import Block

#: of b, h, t, s
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Meaning:
    """What the values of an argument may mean."""

    words: str
    #: (the block's array, sizes) -> the argument's values
    make: Callable[[np.ndarray, Sizes], np.ndarray]
    #: the axes of these, and those of the block's array that they can say; "": the kind's, and the form's
    axes: str = ""
    says: str = ""
    #: a value of the block's -> one that can be said so
    fit: Callable[[np.ndarray], np.ndarray] = lambda x: x


@dataclass(frozen=True)
class Kind:
    """How layers may take one sort of input."""

    #: those of the block's array, a letter each
    axes: str
    meanings: Mapping[str, Meaning]
    #: (axes, meaning) as layers ask for them, the usual first; 1 is an axis of one, no axis at all a number of Python
    pairs: Sequence[tuple[str, str]]
    #: (shape, sizes) -> the block's array that changes nothing
    neutral: Callable[[Sequence[int], Sizes], np.ndarray]
    #: (shape, sizes, random numbers) -> one that changes something
    probe: Callable[[Sequence[int], Sizes, np.random.Generator], np.ndarray]
    #: parts of names that suggest it
    names: Sequence[str]
    #: may the block's array have 1 for an axis? Else it has equal numbers along one that the form lacks
    broadcast: bool = True


def hiding(shape: Sequence[int], sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    """A mask that hides two keys of five, never the first, nor a token from itself; the place decides nothing."""
    keep = np.asarray(rng.uniform(-1, 1, shape) > -0.2)
    keep[..., 0] = True
    if keep.shape[2] == keep.shape[3]:
        keep[..., range(keep.shape[2]), range(keep.shape[2])] = True
    return keep


def some(least: int, most: int, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Whole numbers from ``least`` to ``most``; one of them is below the most if it can be."""
    found = rng.integers(least, most + 1, shape)
    if found.size and most > least:
        found.flat[0] = (least + most) // 2
    return found


def stepped(start: np.ndarray, sizes: Sizes) -> np.ndarray:
    """(b, t): the positions of tokens that begin at ``start``, of (b,)."""
    return start[:, None] + np.arange(sizes["t"])


#: how a mask's values are meant
POLARITIES = {
    "keep": Meaning("True means keep", lambda keep, _: keep),
    "drop": Meaning("True means drop", lambda keep, _: ~keep),
    "1 keeps": Meaning("1 means keep", lambda keep, _: keep.astype(np.int64)),
    "1 drops": Meaning("1 means drop", lambda keep, _: (~keep).astype(np.int64)),
    "1.0 keeps": Meaning("1.0 means keep", lambda keep, _: keep.astype(np.float64)),
    "1.0 drops": Meaning("1.0 means drop", lambda keep, _: (~keep).astype(np.float64)),
    "added": Meaning("0 means keep, −∞ drop: it is added", lambda keep, _: np.where(keep, 0.0, -np.inf)),
    "added, finite": Meaning("0 means keep, −1e9 drop: it is added", lambda keep, _: np.where(keep, 0.0, -1e9)),
}
#: the same of a layer whose positions count the keys that are there, so that those that are hidden must be the last
ENDS = {
    f"{name}, at the end": replace(
        one, words=f"{one.words}; keys at the end alone", fit=lambda keep: np.flip(np.sort(keep, axis=-1), -1)
    )
    for name, one in POLARITIES.items()
}
#: the same said by the number of keys that are there, which are the first ones
COUNTED = Meaning(
    "how many keys there are", lambda keep, _: keep[:, 0, 0].sum(-1), axes="b", says="bs",
    fit=lambda keep: np.flip(np.sort(keep, axis=-1), -1),
)  # fmt: skip
#: the axes that a mask may have
FORMS = ("b 1 t s", "b t s", "t s", "b s", "b 1 1 s", "1 1 t s", "b h t s", "(b h) t s")
MASK = Kind(
    axes="bhts", meanings={**POLARITIES, **ENDS, "count": COUNTED},
    pairs=[*product(FORMS, POLARITIES), ("b", "count"), *product(("b s",), ENDS)],
    neutral=lambda shape, _: np.ones(shape, bool), probe=hiding, names=("mask", "pad", "valid", "keep"),
)  # fmt: skip
BIAS = Kind(
    axes="bhts", meanings={"added": Meaning("it is added", lambda x, _: x)},
    pairs=[(form, "added") for form in (*FORMS, "h t s", "1 h t s", "(b h) 1 s")],
    neutral=lambda shape, _: np.zeros(shape),
    probe=lambda shape, _, rng: rng.uniform(-1, 1, shape) * 2, names=("bias", "alibi"),
)  # fmt: skip
LENGTHS = Kind(
    axes="b", meanings={"count": Meaning("how many keys there are", lambda x, _: x)},
    pairs=[("b", "count"), ("b 1", "count"), ("", "count")],
    neutral=lambda shape, sizes: np.full(shape, sizes["s"]),
    probe=lambda shape, sizes, rng: some(1, sizes["s"], shape, rng), names=("len", "valid", "num", "size"),
    broadcast=False,
)  # fmt: skip
OFFSET = Kind(
    axes="b",
    meanings={
        "start": Meaning("how many keys come before the first query", lambda x, _: x),
        "positions": Meaning("where the queries stand among the keys", stepped, axes="bt"),
    },
    pairs=[(form, "positions") for form in ("b t", "t", "1 t")] + [(form, "start") for form in ("", "b", "b 1")],
    neutral=lambda shape, _: np.zeros(shape, np.int64),
    probe=lambda shape, sizes, rng: some(0, sizes["s"] // 2 + 1, shape, rng),
    names=("pos", "offset", "start", "past_len", "seen"), broadcast=False,
)  # fmt: skip
POSITIONS = Kind(
    axes="bt", meanings={"positions": Meaning("where the tokens stand", lambda x, _: x)},
    pairs=[(form, "positions") for form in ("b t", "t", "1 t")],
    neutral=lambda shape, sizes: np.broadcast_to(np.arange(sizes["t"]), shape).copy(),
    probe=lambda shape, sizes, rng: rng.integers(0, 3 * sizes["t"], shape), names=("pos", "offset"),
)  # fmt: skip
#: input of a block -> how layers take it
KINDS: Mapping[str, Kind] = {
    "attention_mask": MASK, "memory_mask": MASK, "bias": BIAS, "key_lengths": LENGTHS, "query_offset": OFFSET,
    "positions": POSITIONS,
}  # fmt: skip
#: those that hide keys, so that a query may have nothing to attend to
HIDING = ("attention_mask", "memory_mask", "key_lengths")
#: those that are added to the scores
ADDED = ("bias",)
#: parts of names that suggest what belongs to the memory
MEMORY = ("memory", "encoder", "cross", "context", "src")


def suggested(argument: str, given: str) -> bool:
    """Does an argument's name suggest an input of the block?"""
    if given not in KINDS:
        return False
    name = argument.lower()
    far = any(word in name for word in MEMORY)
    return any(word in name for word in KINDS[given].names) and far == ("memory" in given)


def named_first(argument: str, block: Block) -> list[str]:
    """The inputs that a block may be given, those first that the argument's name suggests."""
    known = [name for name in KINDS if name in block.inputs]
    return sorted(known, key=lambda given: not suggested(argument, given))


def pairs(argument: str, given: str, block: Block, own: bool = False) -> list[tuple[str, str]]:
    """(axes, meaning) in which an argument may take an input, those first that its name suggests.

    ``own``: the layer adds a bias of its own, which may depend on what is hidden.
    """
    every = [
        p
        for p in KINDS[given].pairs
        if (own or p[1] not in ENDS)
        and not (p[1] == "count" and given != "key_lengths" and "key_lengths" in block.inputs)
    ]
    padding = any(word in argument.lower() for word in ("padding", "valid", "len"))
    return sorted(every, key=lambda pair: padding and pair[0] not in ("b s", "b 1 1 s", "b"))
