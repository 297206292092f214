"""The parameters of a model as its trace uses them: in which order, and as what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from attn_ref.live.ends import Run
from attn_ref.trace.flow import KNOWN

Shape = tuple[int, ...]
MEANS, VARIANCES = ("running_mean", "moving_mean", "mean"), ("running_var", "moving_variance", "variance")
BIASES, SCALES = ("bias", "beta", "b", "shift", "offset"), ("weight", "gamma", "scale", "g", "w")
#: what is used side by side and called so, in the order in which it is put
SIDES = (
    (("query", "q", "to_q", "q_proj", "theta", "wq", "q_lin"), 0),
    (("key", "k", "to_k", "k_proj", "phi", "wk", "k_lin"), 1),
    (("value", "v", "to_v", "v_proj", "g", "wv", "v_lin"), 2),
)  # fmt: skip


@dataclass(frozen=True)
class Use:
    """A parameter."""

    name: str
    shape: Shape
    #: kernel, scale, bias, mean or variance
    role: str
    #: the number of the first record that came of it; None if the output comes of none
    first: float | None
    #: what takes it first
    operation: str = ""
    #: the layer that it is of, by its name; where that names none, the kernel that was used before
    unit: str = ""

    @property
    def table(self) -> bool:
        """Are its rows looked up?"""
        looked = any(word in self.operation for word in ("embedding", "gather", "index"))
        return len(self.shape) == 2 and (looked or "embed" in self.name.lower())

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))


def split(name: str) -> tuple[str, str]:
    """The layer of a parameter, and what it is called there."""
    parts = re.split(r"[./]", name)
    return name[: len(name) - len(parts[-1]) - 1] if len(parts) > 1 else "", parts[-1].partition(" ")[0].lower()


def uses(run: Run, numbers: Mapping[str, np.ndarray]) -> list[Use]:
    """Every parameter: those that the output comes of in the order of use, then the others."""
    wanted = run.side.above(run.side.to_output)
    found = []
    told = operations(run)
    for i, name in enumerate(run.names):
        taken = [n for n in run.children.get(KNOWN - i, ()) if n in wanted]
        operation = told.get(taken[0], "") if taken else ""
        found.append(Use(name, numbers[name].shape, role(name, numbers[name], operation), taken[0] if taken else None,
                         operation))  # fmt: skip
    used = sorted((use for use in found if use.first is not None), key=lambda use: use.first or 0.0)
    return [*side_by_side(in_units(used)), *in_units([use for use in found if use.first is None])]


def in_units(every: list[Use]) -> list[Use]:
    """The same, each with the layer that it is of."""
    found, kernel = [], ""
    for use in every:
        kernel = use.name if use.role == "kernel" else kernel
        found.append(replace(use, unit=split(use.name)[0] or f"with {kernel}"))
    return found


def operations(run: Run) -> dict[float, str]:
    """A record -> its operation."""
    return {record.number: record.operation.partition(" ")[0].lower() for record in run.trace.records}


def role(name: str, x: np.ndarray, operation: str) -> str:
    """What a parameter is, by its name, its axes and what takes it."""
    leaf = split(name)[1]
    if leaf in MEANS and x.ndim == 1:
        return "mean"
    if leaf in VARIANCES and x.ndim == 1:
        return "variance"
    if (leaf in BIASES and (x.ndim < 2 or leaf != "b")) or leaf.endswith("bias") or leaf.startswith("bias"):
        return "bias"
    if x.ndim > 1:
        return "kernel"
    if leaf in SCALES or leaf.endswith(("weight", "gamma", "scale")):
        return "scale"
    return "bias" if operation.startswith(("add", "bias")) else "scale"


def place(name: str) -> int | None:
    """Is it of queries (0), keys (1) or values (2), by its name?"""
    leaf = split(name)[1].partition("_bias")[0].partition("_weight")[0]
    parts = [*re.split(r"[./]", name.lower())[-3:-1], leaf]
    return next((at for words, at in SIDES for part in parts[::-1] if part in words), None)


def side_by_side(used: list[Use]) -> list[Use]:
    """The same, neighbours of one size and role that are called queries, keys and values in that order."""
    found = list(used)
    for kind in dict.fromkeys((use.role, use.size) for use in used):
        at = [i for i, use in enumerate(found) if (use.role, use.size) == kind]
        start = 0
        while start < len(at):
            stop = start
            seen: set[int] = set()
            while stop < len(at) and (which := place(found[at[stop]].name)) is not None and which not in seen:
                seen.add(which)
                stop += 1
            group = [found[i] for i in at[start:stop]]
            for i, use in zip(at[start:stop], sorted(group, key=lambda use: place(use.name) or 0), strict=True):
                found[i] = use
            start = max(stop, start + 1)
    return found
