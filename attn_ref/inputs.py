"""One declaration of axes per input: it drives validation, case generation, layouts and docs.

Labels are separated by spaces. ``b`` binds a size that must be the same wherever it stands; ``{width}`` is a field of
the block; ``(g r)`` is one axis whose size is a product, so that h = g·r says "the key heads divide the query heads".
A label that begins with a capital is spatial: it stands before the channels in NumPy and Keras, behind them in torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np

from attn_ref.names import hints

KINDS = {"real": ("float", "complex"), "bool": ("bool",), "index": ("int",)}
#: NumPy's letter for a dtype -> its kind
LETTERS = {"f": "real", "c": "real", "b": "bool", "i": "index", "u": "index"}


@dataclass(frozen=True)
class Input:
    """An input's axes, its kind (``real``, ``bool`` or ``index``), and what else is asked of it.

    ``below``: the field that an index stays below; ``upto``: the label whose size it does not exceed; ``downto``: the
    label whose size, negated, is the least it may be; without one it is never negative. ``default``: the input that
    stands in when this one is left out. ``needs``: the field without which there is no such input.
    ``broadcast``: an axis may be 1 and leading axes may be left out,
    as NumPy aligns shapes; ``ranks``: which ranks are accepted then (default: all).
    """

    labels: str
    kind: str = "real"
    below: str | None = None
    upto: str | None = None
    downto: str | None = None
    optional: bool = False
    default: str | None = None
    needs: str | None = None
    broadcast: bool = False
    ranks: tuple[int, ...] | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        return split_labels(self.labels)

    def channels_first(self) -> Input:
        """The same input with its spatial axes last, as torch has them."""
        return replace(self, labels=" ".join(channels_first(self.axes)))


@cache
def split_labels(labels: str) -> tuple[str, ...]:
    """'b (g r) {width}' → ('b', '(g r)', '{width}')."""
    return tuple(re.findall(r"\([^)]*\)|\{[^}]*\}|\S+", labels))


def channels_first(axes: Iterable[str]) -> list[str]:
    """The axes with the spatial ones, those whose label begins with a capital, after all others."""
    return sorted(axes, key=spatial)


def spatial(axis: str) -> bool:
    """Is it one of the axes that change places between layouts? 'H' and '(H {patch})' are."""
    return axis.lstrip("(")[0].isupper()


def kind_of(value: Any) -> str:
    """The kind of an array of any framework, by the name of its dtype. NumPy makes that name anew at every call."""
    if isinstance(value, np.ndarray) and value.dtype.kind in LETTERS:
        return LETTERS[value.dtype.kind]
    name = str(getattr(value.dtype, "name", value.dtype))
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), name)


def resolve(block: Any, axis: str, dims: Mapping[str, int]) -> int | None:
    """The size that ``axis`` must have, as far as fields and ``dims`` tell."""
    if axis.startswith("{"):
        return int(getattr(block, axis[1:-1]))
    if axis.startswith("("):
        sizes = [resolve(block, part, dims) for part in axis[1:-1].split()]
        return None if None in sizes else prod(sizes)  # type: ignore[arg-type]
    fixed = getattr(block, block.fixed[axis]) if axis in block.fixed else None
    return dims.get(axis) if fixed is None else int(fixed)


def bind(block: Any, given: Mapping[str, Any], declared: Mapping[str, Input] | None = None) -> dict[str, int]:
    """Check names, kinds and shapes of ``given`` against ``block.inputs``; return the size of every label.

    ``declared`` takes the place of ``block.inputs``, where another layout is used.

    Works on whatever has ``shape`` and ``dtype``; a size of None (unknown until run time) agrees with anything.
    Raises ValueError: what was given, the rule, the numbers.
    """
    title, declared = type(block).__name__, block.inputs if declared is None else declared
    known = type(block).inputs  # one that the block lacks may be None, as it is in a mirror's call
    if unknown := [name for name, x in given.items() if name not in declared and not (x is None and name in known)]:
        options = [name for name in unknown if name in block.fields()]
        told = f"{', '.join(options)} is an option: {title}({options[0]}=…, …); " if options else ""
        lacks = [(name, known[name].needs) for name in unknown if name in known]
        told += "".join(f"{name} needs {field}, which is None; " for name, field in lacks)
        told = f"{told or hints(unknown, declared)}its inputs are {', '.join(declared)}"
        raise ValueError(f"{title} has no input {', '.join(map(repr, unknown))}; {told}")
    present: dict[str, Any] = {}
    for name, spec in declared.items():
        value = given.get(name)
        if value is None and spec.default:
            value = present.get(spec.default)
        if value is not None:
            present[name] = value
    needed = [name for name, spec in declared.items() if not spec.optional and not spec.default]
    if missing := [name for name in needed if name not in present]:
        raise ValueError(
            f"{title}: missing input {', '.join(map(repr, missing))}; its inputs are {', '.join(declared)}"
        )
    dims: dict[str, int] = {}
    # exact shapes bind the labels, products come after the labels that they are made of, masks come last
    order = sorted(present, key=lambda name: (declared[name].broadcast, "(" in declared[name].labels))
    for name in order:
        _bind_one(block, title, name, declared[name], present[name], dims)
    if empty := [label for label, size in dims.items() if size == 0 and label != "b"]:
        raise ValueError(f"{title}: axis {', '.join(empty)} is 0; only the batch may be empty")
    for label, field in block.limits.items():
        bound = getattr(block, field)
        if bound is not None and dims.get(label, 0) > bound:
            raise ValueError(f"{title}: {label} is {dims[label]}, and at most {field} = {bound} is possible")
    for label, field in block.least.items():
        bound = getattr(block, field)
        if dims.get(label, bound) < bound:
            raise ValueError(f"{title}: {label} is {dims[label]}, and at least {field} = {bound} is needed")
    return dims


def _bind_one(block: Any, title: str, name: str, spec: Input, value: Any, dims: dict[str, int]) -> None:
    shape = tuple(value.shape)
    if (kind := kind_of(value)) != spec.kind:
        hint = {"bool": "; True = attend", "index": "; integers", "real": "; a floating dtype"}[spec.kind]
        told = f"{title}: {name} should be of kind {spec.kind}{hint}; got dtype {value.dtype}, kind {kind}"
        raise ValueError(told + _conversion(block, name, spec.kind, kind))
    axes = spec.axes
    ranks = spec.ranks or (range(len(axes) + 1) if spec.broadcast else (len(axes),))

    def refuse(why: str) -> ValueError:
        numbers = [resolve(block, axis, dims) for axis in axes]
        known = ", ".join(axis if size is None else str(size) for axis, size in zip(axes, numbers, strict=True))
        also = " (each axis may be 1)" if spec.ranks else " (each axis may be 1, leading axes may be left out)"
        also = also if spec.broadcast else ""
        why += _turning(spec, shape, numbers)
        return ValueError(f"{title}: {name} should have axes '{spec.labels}' = ({known}){also}; got {shape}: {why}")

    if len(shape) not in ranks:
        wanted = " or ".join(map(str, ranks)) if len(list(ranks)) <= 3 else f"at most {max(ranks)}"
        hint = ""
        if spec.ranks and len(shape) not in spec.ranks and len(shape) < len(axes):
            hint = "; write an axis left out as 1: padding[:, None, None, :] for (b, s), mask[None, None] for (t, s)"
        raise refuse(f"rank {len(shape)}, and {wanted} is accepted{hint}")
    for axis, size in zip(axes[len(axes) - len(shape) :], shape, strict=True):
        if size is None or (spec.broadcast and size == 1):
            continue
        wanted_size = resolve(block, axis, dims)
        if wanted_size is None:
            _solve(block, axis, size, dims, refuse)
        elif wanted_size != size:
            raise refuse(f"axis {axis} is {size}, not {wanted_size}")


def _conversion(block: Any, name: str, wanted: str, kind: str) -> str:
    """How one gets from an array of one kind to another, where that is plain."""
    if wanted == "bool" and kind in ("index", "real"):
        added = "; what is added to the scores is the input bias" if kind == "real" and "bias" in block.inputs else ""
        return f"; {name} == 1 if 1 means attend, {name} == 0 if 1 means drop{added}"
    return f"; {name}.astype(float)" if wanted == "real" and kind == "index" else ""


def _turning(spec: Input, shape: tuple[int, ...], wanted: list[int | None]) -> str:
    """What is said of a shape that would fit with a batch of 1, or with its channels at the other end."""
    single = len(shape) == len(spec.axes) - 1 and spec.axes[0] == "b" and not spec.broadcast
    if single and wanted[-1] is not None and shape[-1:] == (wanted[-1],):
        return "; a single example is a batch of 1: x[None]"
    if len(shape) == len(spec.axes) and any(map(spatial, spec.axes)) and spec.axes[-1].startswith("{"):
        return "; channels come last: np.moveaxis(x, 1, -1)" if shape[1] == wanted[-1] != shape[-1] else ""
    return ""


def _solve(block: Any, axis: str, size: int, dims: dict[str, int], refuse: Any) -> None:
    """Bind the label that ``axis`` brings, or the one unknown factor of a product."""
    if not axis.startswith("("):
        dims[axis] = size
        return
    labels = axis[1:-1].split()
    sizes = {label: resolve(block, label, dims) for label in labels}
    known = prod(value for value in sizes.values() if value is not None)
    unknown = [label for label, value in sizes.items() if value is None]
    if known == 0 or size % known:
        told = " · ".join(f"{label.strip('{}')} = {value}" for label, value in sizes.items() if value is not None)
        raise refuse(f"axis {axis} is {size}, which {told} does not divide")
    if len(unknown) == 1:
        dims[unknown[0]] = size // known


#: accepted signature -> its block, which is kept so that no other block can have its id
_seen: dict[Any, Any] = {}


def check_shapes(block: Any, layout: str = "channels_last", **given: Any) -> None:
    """``bind`` for a mirror's forward: any framework's arrays, and next to no time once a signature was accepted.

    A block goes by its id: hashing twenty fields took longer than all the rest.
    """
    signature = (id(block), layout, *[(name, tuple(x.shape), x.dtype) for name, x in given.items() if x is not None])
    if signature not in _seen:
        first = {name: spec.channels_first() for name, spec in block.inputs.items()}
        bind(block, given, first if layout == "channels_first" else None)
        if len(_seen) > 4096:
            _seen.clear()
        _seen[signature] = block


def check_values(block: Any, given: Mapping[str, np.ndarray], dims: Mapping[str, int]) -> None:
    """What shapes cannot tell, for NumPy arrays: indices in range, real values finite. ``dims``: what ``bind`` gave."""
    for name, value in given.items():
        spec = block.inputs[name]
        if spec.kind == "index" and value.size:
            bound, rule = index_bound(block, spec, dims)
            low, high = int(value.min()), int(value.max())
            least = -dims[spec.downto] if spec.downto else 0
            if low < least or (bound is not None and high >= bound):
                worst = low if low < least else high
                until = f"to {bound - 1} ({rule})" if bound is not None else "upwards"
                since = f"{least} ({spec.downto} = {-least})" if spec.downto else "0"
                raise ValueError(
                    f"{type(block).__name__}: {name} holds {worst} at {_where(value == worst)}; "
                    f"indices run from {since} {until}"
                )
        if spec.kind == "real" and not np.isfinite(value).all():
            raise ValueError(
                f"{type(block).__name__}: {name} holds a value that is not finite at {_where(~np.isfinite(value))}; "
                "inputs are finite by definition (use the bool mask to leave a key out, not -inf)"
            )


def index_bound(block: Any, spec: Input, dims: Mapping[str, int]) -> tuple[int | None, str]:
    """What an index stays below, None if it has no bound, and the rule in words."""
    if spec.below:
        return getattr(block, spec.below), f"{spec.below} = {getattr(block, spec.below)}"
    if spec.upto:
        return dims[spec.upto] + 1, f"{spec.upto} = {dims[spec.upto]}"
    return None, ""


def _where(hit: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(hit)[0])


def free_labels(inputs: Iterable[Input]) -> list[str]:
    """The labels that neither a field nor another label fixes, in order of appearance."""
    found: dict[str, None] = {}
    for spec in inputs:
        for axis in spec.axes if not spec.broadcast else ():
            for label in () if axis.startswith("{") else axis.strip("()").split():
                if not label.startswith("{"):
                    found[label] = None
    return list(found)
