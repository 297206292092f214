"""Backends: what a framework must do to mirror the blocks, and how they are found.

A backend is a package with a class ``Backend`` and an entry point in the group ``attn_ref.backends``. It serves one or
more engines: names such as ``torch``, ``tensorflow`` and ``jax`` under which its mirrors can run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from attn_ref.block import Block
from attn_ref.catalogue import FOLDERS, module_name
from attn_ref.tap import Tapped
from attn_ref.weights import mismatches

GROUP = "attn_ref.backends"


class MissingBackend(RuntimeError):
    """An engine whose framework is not installed."""


@dataclass
class Slot:
    """One canonical parameter inside a layer: its canonical shape and dtype, and how to read and write it."""

    shape: tuple[int, ...]
    dtype: str
    get: Callable[[], np.ndarray]
    set: Callable[[np.ndarray], None]


@dataclass
class Run:
    """What came out of a mirror, as NumPy arrays in the canonical layout."""

    output: np.ndarray
    taps: dict[str, Tapped] = field(default_factory=dict)
    #: "parameter query.kernel", "input query", "tap scores" … -> gradient of Σ cotangent · output, canonical layout
    gradients: dict[str, np.ndarray] = field(default_factory=dict)


class Backend(ABC):
    """One framework's mirrors under one engine."""

    #: the package's short name, and engine -> the module that it needs
    name: ClassVar[str]
    engines: ClassVar[dict[str, str]]
    #: the engines that compile for every new shape: a check gives them fewer shapes, and as many seeds
    compiled: ClassVar[frozenset[str]] = frozenset()
    #: pip's name of what installs it
    extra: ClassVar[str]

    def __init__(self, engine: str) -> None:
        self.engine = engine

    @abstractmethod
    def build(self, block: Block, dtype: str = "float64") -> Any:
        """The mirror of ``block``: a native layer with parameters of ``dtype``, to be loaded with weights."""

    @abstractmethod
    def slots(self, layer: Any) -> dict[str, Slot]:
        """Canonical name -> Slot, for every parameter of ``layer``, by attribute path and leaf type."""

    @abstractmethod
    def run(
        self,
        layer: Any,
        inputs: Mapping[str, np.ndarray],
        *,
        observe: bool = True,
        add: Mapping[str, Tapped] | None = None,
        replace: Mapping[str, Tapped] | None = None,
    ) -> Run:
        """Run ``layer`` on canonical inputs. Without ``observe`` nothing listens, so fused calls are taken.

        ``replace`` with ``keep`` taps is training mode; the arrays carry the labels of the reference's taps.
        """

    @abstractmethod
    def gradients(
        self,
        layer: Any,
        inputs: Mapping[str, np.ndarray],
        cotangent: np.ndarray,
        *,
        observe: bool = True,
        replace: Mapping[str, Tapped] | None = None,
    ) -> Run:
        """Run ``layer`` forwards and backwards: the gradients of Σ cotangent · output, by the framework's own means.

        To every parameter and real input; with ``observe`` to every tap too, as the gradient to a zero added there.
        """

    @classmethod
    def mirrors(cls, block_name: str) -> bool:
        """Has this backend a file for the block? Imports no framework."""
        return bool(cls.source(block_name))

    @classmethod
    def source(cls, block_name: str) -> str:
        """The text of the mirror's file, empty if there is none. Imports no framework."""
        specs = (find_spec(f"{cls.__module__}.{folder}.{module_name(block_name)}") for folder in FOLDERS)
        return next((Path(spec.origin).read_text("utf-8") for spec in specs if spec and spec.origin), "")

    @classmethod
    def version(cls, engine: str) -> str | None:
        """The version of the engine's framework, or None if it is not installed. Imports no framework."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(cls.engines[engine]) if find_spec(cls.engines[engine]) else None
        except PackageNotFoundError:
            return None

    def load(self, layer: Any, weights: Mapping[str, np.ndarray]) -> Any:
        """Put canonical weights into ``layer`` and return it. Strict: one ValueError lists all that is wrong.

        A wider float may not be put into a narrower one: round first, with ``attn_ref.weights.cast``.
        """
        slots = self.slots(layer)
        arrays = {
            name: np.asarray(value.detach() if hasattr(value, "detach") else value) for name, value in weights.items()
        }
        lines = mismatches({name: slot.shape for name, slot in slots.items()}, arrays)
        lines += [
            f"wrong dtype: {name} is {arrays[name].dtype}, which {slot.dtype} cannot hold exactly"
            for name, slot in slots.items()
            if name in arrays and not _holds(slot.dtype, arrays[name])
        ]
        if lines:
            rounding = "; round first: attn_ref.weights.cast" if any("dtype" in line for line in lines) else ""
            title = f"{type(layer).__name__} ({self.engine}): {len(lines)} wrong weights{rounding}"
            raise ValueError(title + "\n  " + "\n  ".join(lines))
        for name, slot in slots.items():
            slot.set(arrays[name])
        return layer

    def dump(self, layer: Any) -> dict[str, np.ndarray]:
        """The canonical weights that ``layer`` holds, bit for bit."""
        return {name: slot.get() for name, slot in self.slots(layer).items()}


def _holds(target: str, value: np.ndarray) -> bool:
    """Can a parameter of dtype ``target`` hold ``value`` exactly?"""
    source = value.dtype
    if target == str(source):
        return True
    if target == "bfloat16" and str(source) == "float32":  # as which it is dumped: the lower half of the bits is empty
        return not (value.view(np.uint32) & 0xFFFF).any()
    wider = ("float16", "float32", "float64")
    if target in wider and str(source) in wider:
        return wider.index(target) >= wider.index(str(source))
    return target in ("float32", "float64") and str(source) == "bfloat16"


@cache
def backends() -> dict[str, type[Backend]]:
    """Engine -> the backend class that serves it, installed or not, in order of entry point. Imports no framework."""
    from importlib.metadata import entry_points  # here, because importing it takes half as long as NumPy

    found: dict[str, type[Backend]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name != "torch"):
        cls = point.load()
        found |= dict.fromkeys(cls.engines, cls)
    return found


@cache
def backend(engine: str) -> Backend:
    """The backend that serves ``engine``. ValueError if there is none, MissingBackend if it is not installed."""
    known = backends()
    if engine not in known:
        raise ValueError(f"unknown engine {engine!r}; the engines are {', '.join(known)}")
    cls = known[engine]
    if cls.version(engine) is None:
        extra = "jax" if cls.engines[engine] == "jax" else cls.extra
        raise MissingBackend(
            f"engine {engine!r} needs {cls.engines[engine]}, which is not installed: pip install 'attn_ref[{extra}]'"
        )
    return cls(engine)
