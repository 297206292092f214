"""Named tensors that lie in a file and are read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from attn_ref import catalogue
from attn_ref.block import Block

#: The dtypes of weights. bfloat16 is ``ml_dtypes``', which comes with Keras and with JAX; NumPy has none.
FLOATS = ("float64", "float32", "float16", "bfloat16")
#: A field that a file or a user tells may be as large as the file has numbers, and this large in any case: a distance
#: is no size. More would let a file of a few bytes describe a block that fills the memory.
ROOM = 1000


class CheckpointError(ValueError):
    """A file, or what it holds, cannot be used: says what was given, the rule, and the way out."""


class Spec(NamedTuple):
    """What is known about a tensor before it is read: its shape, and the name of its dtype."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, array: Any) -> Spec:
        return cls(tuple(array.shape), array.dtype.name)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.itemsize


class Checkpoint(Mapping[str, np.ndarray]):
    """Tensors by name. ``specs`` has their shapes and dtypes; ``checkpoint[name]`` reads one, so memory stays small.

    ``metadata`` is what attn_ref wrote into the file, empty for a file of someone else's; ``config_path`` is the
    ``config.json`` beside the file, or None.
    """

    def __init__(
        self,
        specs: Mapping[str, Spec],
        load: Callable[[str], np.ndarray],
        *,
        path: Path | None = None,
        format: str = "",
        metadata: Mapping[str, Any] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.specs, self.load = dict(specs), load
        self.path, self.format = path, format
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.config_path: Path | None = None
        self._close = close

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Checkpoint:
        """A checkpoint of arrays that are in memory; one that is a checkpoint already stays as it is."""
        if isinstance(arrays, Checkpoint):
            return arrays
        held = {name: np.asarray(value) for name, value in arrays.items()}
        return cls({name: Spec.of(value) for name, value in held.items()}, held.__getitem__)

    @property
    def size(self) -> int:
        """Number of elements of all tensors."""
        return sum(spec.size for spec in self.specs.values())

    @property
    def block(self) -> Block | None:
        """The block whose weights these are, if the file says so. CheckpointError if what it says is not a block."""
        if "block" not in self.metadata:
            return None
        try:
            fields = dict(self.metadata.get("fields", {}))
            if any(type(value) is int and value > max(self.size, ROOM) for value in fields.values()):
                raise ValueError(f"a field is larger than the {self.size} numbers that the file holds: {fields}")
            return catalogue.block(str(self.metadata["block"])).build(fields)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{self.path}: its metadata describe no block: {error}") from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.specs:
            raise KeyError(name)
        array = np.asarray(self.load(name))
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if Spec.of(array) != self.specs[name]:
            raise CheckpointError(f"{self.path}: {name} was announced as {self.specs[name]} and is {Spec.of(array)}")
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._close:
            self._close()


@contextmanager
def reading(path: Path, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn ``errors`` of a library into one CheckpointError that says which file is no readable ``what``."""
    try:
        yield
    except CheckpointError:
        raise
    except errors as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as {what}: {why}; is it complete, and of that kind?") from error
