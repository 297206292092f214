"""What people's files have around a model's names: prefixes of wrappers, dicts of training runs, copies by EMA.

A dict in a file is a prefix of its tensors' names, as a wrapper module is, so both are opened alike: the names below
the prefix are the model's. Nothing is chosen where the names fit a map as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase, translate
from typing import NamedTuple

from attn_ref.port.checkpoint import Checkpoint, CheckpointError

#: the keys under which training runs save a model, whatever else they save beside it
KEYS = ("state_dict.", "model_state_dict.", "model_state.")
#: what may stand before every name: keys too, and the attribute under which a wrapper holds its model
WRAPPERS = (*KEYS, "model.", "module.", "_orig_mod.", "_forward_module.", "net.", "network.", "params.")
#: a running mean of the weights, which is another model
EMA = ("ema.", "ema_model.", "model_ema.", "ema_state_dict.", "state_dict_ema.", "ema_model_state_dict.", "shadow.")
#: what training keeps beside the weights, in whatever format (``*`` for anything)
TRAINING = (
    "optimizer/*", "optimizer_weights/*", "optimizer.*", "optimizer_states.*", "optimizer_state_dict.*",
    "*/.OPTIMIZER_SLOT/*", "*/adam_m", "*/adam_v", "*/Adam", "*/Adam_1", "*/Momentum", "global_step", "save_counter/*",
    "iterations", "beta1_power", "beta2_power", "_CHECKPOINTABLE_OBJECT_GRAPH",
)  # fmt: skip
IS_TRAINING = re.compile("|".join(translate(pattern) for pattern in TRAINING))
WHY_TRAINING = "the state of training, not a weight"
#: how many wrappers may lie in one another
DEEPEST = 6

#: how well the names of a checkpoint fit, from 0 to 1; None where there are no fixed names that they could fit
Fit = Callable[[Checkpoint], float | None]


class Opened(NamedTuple):
    """The model in a file."""

    #: its tensors under its own names
    view: Checkpoint
    #: what stands before each in the file
    prefix: str
    #: the file's name of what is left out -> why
    left: dict[str, str]
    #: what has to be said, a line each
    said: tuple[str, ...]

    def name(self, key: str) -> str:
        """The file's name of a tensor."""
        return self.prefix + key


def opened(source: Checkpoint, fit: Fit, *, prefix: str | None = None, drop: Sequence[str] = ()) -> Opened:
    """The model in ``source``: the names below ``prefix``, or below the wrappers that make them ``fit`` best.

    ``drop`` are patterns of the file's names, ``*`` for anything. CheckpointError if a pattern or the prefix names
    nothing.
    """
    left = dropped(source, drop)
    names = [name for name in source if name not in left]
    if prefix is None:
        prefix = best(source, names, fit)
    inside = below(names, prefix)
    if not inside:
        what = f"no name begins with {prefix!r}" if prefix else "no tensor is left"
        raise CheckpointError(f"{source.path}: {what}{advice(names, prefix)}")
    if not prefix and not left:
        return Opened(source, "", {}, ())
    where = f"not below {prefix}"
    taken = set(inside.values())
    left |= {name: reason(name, where) for name in names if name not in taken}
    said = [f"opened: the {len(inside)} names below {prefix}"] if prefix else []
    said += [f"a mean of the weights (EMA) lies below {way}; --prefix {way} takes it" for way in means(names, prefix)]
    return Opened(source.renamed(inside), prefix, left, tuple(said))


def best(source: Checkpoint, names: Sequence[str], fit: Fit) -> str:
    """The wrappers' prefix below which names fit best, the shortest of equals; the longest where nothing can fit."""
    ways = [""] if "map" in source.metadata else candidates(names)
    if len(ways) == 1:
        return ""
    fits = {way: fit(source.renamed(below(names, way))) for way in ways}
    known = {way: share for way, share in fits.items() if share is not None}
    return max(known, key=known.__getitem__) if known else ways[-1]


def dropped(source: Checkpoint, patterns: Sequence[str]) -> dict[str, str]:
    """The names that ``patterns`` fit -> by which."""
    found: dict[str, str] = {}
    for pattern in patterns:
        fitting = [name for name in source if fnmatchcase(name, pattern)]
        if not fitting:
            raise CheckpointError(
                f"{source.path}: no name fits --drop {pattern!r}; * stands for anything{advice(list(source), pattern)}"
            )
        found |= dict.fromkeys(fitting, f"--drop {pattern}")
    return found


def reason(name: str, otherwise: str) -> str:
    """Why a name is left out."""
    return WHY_TRAINING if IS_TRAINING.match(name) else otherwise


def below(names: Sequence[str], prefix: str) -> dict[str, str]:
    """Name below ``prefix`` -> the whole name."""
    return {name[len(prefix) :]: name for name in names if name.startswith(prefix) and len(name) > len(prefix)}


def candidates(names: Sequence[str]) -> list[str]:
    """The prefixes that may be wrappers', the empty one first."""
    found, here = [""], [""]
    for _ in range(DEEPEST):
        inner = []
        for prefix in here:
            rest = [name[len(prefix) :] for name in names if name.startswith(prefix)]
            inner += [prefix + wrapper for wrapper in WRAPPERS if holds(wrapper, rest)]
        here = inner
        found += inner
    return found


def holds(wrapper: str, names: Sequence[str]) -> bool:
    """Is this the wrapper? Every name lies in it, but for what training keeps and the copies that are means."""
    outside = [name for name in names if not name.startswith(wrapper)]
    if len(outside) == len(names) or wrapper in KEYS:
        return len(outside) < len(names)
    return all(name.startswith(EMA) or reason(name, "") for name in outside)


def means(names: Sequence[str], prefix: str) -> list[str]:
    """The prefixes of copies by EMA that lie beside ``prefix``."""
    around = {prefix[:at] for at in range(len(prefix) + 1) if at == 0 or prefix[at - 1] == "."}
    ways = [outer + way for outer in sorted(around) for way in EMA]
    return [way for way in ways if not prefix.startswith(way) and any(name.startswith(way) for name in names)]


def groups(names: Sequence[str]) -> Counter[str]:
    """What stands before the first dot or slash -> how many names begin so, the most frequent first."""
    found: Counter[str] = Counter()
    for name in names:
        at = min((i for i in (name.find("."), name.find("/")) if i > 0), default=-1)
        if at > 0:
            found[name[: at + 1]] += 1
    return found


def advice(names: Sequence[str], given: str = "") -> str:
    """A hint at the prefixes that there are; empty if there are none."""
    common = [f"{count} below {prefix}" for prefix, count in groups(names).most_common(4) if prefix != given]
    return f"; its names are {', '.join(common)}" if common else ""
