"""Backends: what a framework must do to mirror the blocks. ``engines`` finds them.

A backend is a package with a class ``Backend`` and an entry point in the group ``attn_ref.backends``. It serves one or
more engines: names such as ``torch``, ``tensorflow`` and ``jax`` under which its mirrors can run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from attn_ref.block import Block
from attn_ref.discovery import file_of, find
from attn_ref.doors import as_array, for_engine
from attn_ref.foreign.peer import Peer
from attn_ref.names import Named, hint
from attn_ref.tap import Tapped, no_such_tap, silence
from attn_ref.weights import mismatches

#: of a mirror's parameters
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass
class Slot:
    """One canonical parameter inside a layer: its canonical shape and dtype, and how to read and write it."""

    shape: tuple[int, ...]
    dtype: str
    get: Callable[[], np.ndarray]
    set: Callable[[np.ndarray], None]
    #: does the framework train it?
    trains: bool = True


@dataclass
class Run:
    """What came out of a mirror, as NumPy arrays in the canonical layout."""

    output: np.ndarray
    taps: dict[str, Tapped] = field(default_factory=dict)
    #: "parameter query.kernel", "input query", "tap scores" … -> gradient of Σ cotangent · output, in the canonical
    #: layout; that of a tap laid out as the tap is
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    #: the output's dtype in the framework, which need not be that of the array; empty if the backend does not tell
    dtype: str = ""

    def __post_init__(self) -> None:
        self.taps, self.gradients = Named("tap", self.taps), Named("gradient", self.gradients)


@dataclass(frozen=True)
class Request:
    """What is asked of one run: does anyone hear the taps, and with a ``cotangent`` gradients too."""

    listens: bool
    add: Mapping[str, Tapped]
    replace: Mapping[str, Tapped]
    cotangent: Any = None
    training: bool = False

    def signature(self, inputs: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
        """All of it and of ``inputs`` that a compiled function depends on: names, shapes, dtypes and labels."""
        given = tuple((name, x.shape, x.dtype.kind) for name, x in inputs.items())
        put = (tuple((name, np.shape(t.value), t.labels) for name, t in p.items()) for p in (self.add, self.replace))
        return (self.listens, self.training, self.cotangent is not None, given, *put)


class Backend(ABC):
    """One framework's mirrors under one engine."""

    #: the package's short name, and engine -> the module that it needs; ``torch-…`` is another way to run ``torch``
    name: ClassVar[str]
    engines: ClassVar[dict[str, str]]
    #: the engines that a check leaves out unless they are asked for, because they take long
    on_request: ClassVar[frozenset[str]] = frozenset()
    #: engine -> how many shapes a check of up to 64 cases draws, where new shapes are compiled; in proportion beyond
    shapes: ClassVar[dict[str, int]] = {}
    #: engine -> how many processes of it a check runs at once, 1 where it does not say: where cases take long
    workers: ClassVar[dict[str, int]] = {}
    #: engines of ``shapes`` whose forward pass is compiled operation by operation, so that options vary within a shape
    op_by_op: ClassVar[frozenset[str]] = frozenset()
    #: pip's name of what installs it
    extra: ClassVar[str]
    #: the layer of another library that takes the place of mirrors; None: the mirrors
    peer: ClassVar[Peer | None] = None

    def __init__(self, engine: str) -> None:
        self.engine = engine

    @classmethod
    def of(cls, peer: Peer) -> type[Backend]:
        """The backend under which a layer of another library runs: it has no mirrors but that layer."""
        shared = {"engines": {peer.name: peer.needs[-1]}, "on_request": frozenset({peer.name}), "peer": peer}
        return type(f"{cls.__name__}Of", (cls,), {**shared, "shapes": {}, "workers": {}, "__module__": cls.__module__})

    def outside(self, block: Block, inputs: Mapping[str, np.ndarray]) -> str:
        """Why this need not compute ``block`` on ``inputs``; empty for a mirror, which must."""
        return self.peer.outside(block, inputs) if self.peer else ""

    def mirror(self, block: Block, dtype: str) -> type:
        """The class that mirrors ``block``; ValueError if there is none, or no such dtype."""
        if not isinstance(block, Block):
            example = "FeedForward(width=8, hidden_width=32)"
            raise ValueError(f"a mirror is built of a block with its options, such as {example}; got {block!r}")
        if dtype not in DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}; {hint(str(dtype), DTYPES)}the dtypes are {', '.join(DTYPES)}")
        mirror = find(type(block).__name__, type(self).__module__)
        if mirror is None:
            raise ValueError(f"{type(block).__name__} has no mirror in {type(self).__module__}")
        return mirror

    @abstractmethod
    def build(self, block: Block, dtype: str = "float64") -> Any:
        """The mirror of ``block``: a native layer with parameters of ``dtype``, to be loaded with weights."""

    @abstractmethod
    def slots(self, layer: Any) -> dict[str, Slot]:
        """Canonical name -> Slot, for every parameter of ``layer``, by attribute path and leaf type."""

    @abstractmethod
    def listening(self, layer: Any) -> AbstractContextManager[None]:
        """While it lasts, taps of ``layer`` have full names: ``with backend.listening(layer), ar.record() as t:``."""

    @abstractmethod
    def execute(self, layer: Any, inputs: dict[str, np.ndarray], request: Request) -> Run:
        """Run ``layer`` on checked inputs: what ``run`` and ``gradients`` do, for a backend to implement."""

    def run(
        self,
        layer: Any,
        inputs: Mapping[str, np.ndarray],
        *,
        observe: bool = True,
        add: Mapping[str, Tapped] | None = None,
        replace: Mapping[str, Tapped] | None = None,
        training: bool = False,
    ) -> Run:
        """Run ``layer`` on canonical inputs.

        With ``observe=False`` alone nothing listens, so that fused calls are taken, whoever records outside.
        ``replace`` and ``add`` carry the labels of the reference's taps. In ``training`` batch norms normalise by the
        batch, and dropouts drop, unless their ``keep`` is replaced.
        """
        listens = bool(observe or add or replace)
        return self._run(layer, inputs, Request(listens, add or {}, replace or {}, training=training))

    def gradients(
        self,
        layer: Any,
        inputs: Mapping[str, np.ndarray],
        cotangent: np.ndarray,
        *,
        observe: bool = True,
        replace: Mapping[str, Tapped] | None = None,
        training: bool = False,
    ) -> Run:
        """Run ``layer`` forwards and backwards: the gradients of Σ cotangent · output, by the framework's own means.

        To every parameter and real input; while something listens to every tap too, as the gradient to a zero added
        there.
        """
        listens = bool(observe or replace)
        return self._run(layer, inputs, Request(listens, {}, replace or {}, cotangent, training))

    def _run(self, layer: Any, inputs: Mapping[str, np.ndarray], request: Request) -> Run:
        if isinstance(layer, Block) or not isinstance(block := getattr(layer, "block", None), Block):
            call = "a mirror, as backend.load(backend.build(block), weights) makes it"
            raise ValueError(f"a backend runs {call}; got a {type(layer).__name__}")
        if not isinstance(inputs, Mapping):
            first = next(iter(block.inputs))
            raise ValueError(f"inputs go by name, {{{first!r}: …}}; got a {type(inputs).__name__}")
        title = type(block).__name__
        given = {name: for_engine(title, name, x) for name, x in block.checked(**inputs).items()}
        add, replaced = (
            {name: Tapped(for_engine(title, f"the value for tap {name}", t.value), t.labels) for name, t in p.items()}
            for p in (request.add, request.replace)
        )
        seed = None if request.cotangent is None else for_engine(title, "the cotangent", request.cotangent)
        request = replace(request, add=add, replace=replaced, cotangent=seed)
        with silence():  # whoever records around a run does not hear it
            run = self.execute(layer, given, request)
        if unused := [name for name in [*request.add, *request.replace] if name not in run.taps]:
            raise ValueError(no_such_tap(unused, run.taps))
        return run

    def promises(self, block: Block, dtype: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
        """What a layer of this framework promises besides its values -> how it is broken, empty where it is kept."""
        return {}

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """While it lasts, what layers that are made and run draw follows from ``seed``; afterwards all is as before."""
        yield

    @classmethod
    def mirrors(cls, block_name: str) -> bool:
        """Has this backend a file for the block? Imports no framework."""
        return block_name == cls.peer.block if cls.peer else file_of(block_name, cls.__module__) is not None

    @classmethod
    def source(cls, block_name: str) -> str:
        """The text of the mirror's file, empty if there is none. Imports no framework."""
        file = file_of(block_name, cls.__module__)
        return file.read_text("utf-8") if file else ""

    @classmethod
    def version(cls, engine: str) -> str | None:
        """The version of the engine's framework, or None if it is not installed. Imports no framework."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(cls.engines[engine]) if find_spec(cls.engines[engine]) else None
        except PackageNotFoundError:
            return None

    def keep_compiled(self, folder: str) -> None:  # noqa: B027  (most frameworks cannot)
        """Keep what is compiled from now on in ``folder``, for other processes, where the framework can do that."""

    def begin_anew(self) -> None:  # noqa: B027  (most frameworks keep nothing)
        """A worker begins another case: what layers of earlier ones have left in the framework may go."""

    def fingerprint(self) -> dict[str, Any]:
        """The engine's own switches on which a figure may depend: threads, device, TF32, determinism."""
        return {}

    def load(self, layer: Any, weights: Mapping[str, np.ndarray]) -> Any:
        """Put canonical weights into ``layer`` and return it. Strict: one ValueError lists all that is wrong.

        A wider float may not be put into a narrower one: round first, with ``attn_ref.weights.cast``.
        """
        if not isinstance(weights, Mapping):
            raise ValueError(f"weights go by name, as block.init() gives them; got a {type(weights).__name__}")
        slots = self.slots(layer)
        arrays = {name: as_array(value, name) for name, value in weights.items()}
        lines = mismatches({name: slot.shape for name, slot in slots.items()}, arrays)
        given = {name: getattr(weights[name], "dtype", array.dtype) for name, array in arrays.items()}
        lines += [
            f"wrong dtype: {name} is {given[name]}, which {slot.dtype} cannot hold exactly"
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
    return False
