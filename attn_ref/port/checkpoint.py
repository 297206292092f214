"""Named tensors that lie in a file and are read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from attn_ref import catalogue
from attn_ref.block import Block
from attn_ref.places import CheckpointError
from attn_ref.wording import printable

#: The dtypes of weights. bfloat16 is ``ml_dtypes``', which comes with Keras and with JAX; NumPy has none.
FLOATS = ("float64", "float32", "float16", "bfloat16")
#: why numbers of 8 bits and fewer are no weights
QUANTISED = (
    "numbers of 8 bits are quantised weights, whose scales lie in other tensors; dequantise the model, and save it in "
    "bfloat16 or float32"
)
#: A field that a file or a user tells may be as large as the file has numbers, and this large in any case: a distance
#: is no size. More would let a file of a few bytes describe a block that fills the memory.
ROOM = 1000


#: A file may announce so many bytes, or so many times its own size: real weights hardly compress.
SMALL, EXPANSION = 256 << 20, 50
#: A file may hold as many tensors: three times those of the largest published models.
MOST = 500_000
#: A tensor's name may have as many characters.
LONGEST = 1000


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


def quantised(dtype: str) -> str:
    """Why weights of ``dtype`` cannot be moved, behind a semicolon, if it is one of 8 bits and fewer; else nothing.

    >>> quantised("float32"), quantised("float8_e4m3fn")[:19]
    ('', '; numbers of 8 bits')
    """
    small = dtype.lower().startswith(
        ("float8", "f8", "float4", "f4", "f6", "int8", "uint8", "i8", "u8", "int4", "uint4")
    )
    return f"; {QUANTISED}" if small or dtype.lower().startswith(("qint", "quint")) else ""


class Place(NamedTuple):
    """Where the bytes of a tensor lie in a file, one after another: they can be read without the format's library."""

    offset: int
    #: NumPy's, with the order of bytes, such as ``<f4``
    dtype: str
    #: the CRC-32 of what lies before the bytes in their entry, and of the whole entry; None where there is none
    crc: tuple[int, int] | None = None
    #: the name of the shard; empty where there is one file
    file: str = ""


class Way(NamedTuple):
    """How a tensor comes from bytes that lie in a file one after another, of numbers that are little-endian."""

    path: Path
    offset: int
    #: of what lies there
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    #: what is made of it: a view; None: the tensor has its bytes in that order
    view: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def nbytes(self) -> int:
        """The bytes that lie there."""
        return prod(self.shape) * self.dtype.itemsize


class Checkpoint(Mapping[str, np.ndarray]):
    """Tensors by name. ``specs`` has their shapes and dtypes; ``checkpoint[name]`` reads one, so memory stays small.

    ``metadata`` is what attn_ref wrote into the file, empty for a file of someone else's; ``config_path`` is the
    ``config.json`` beside the file, or None. ``files`` are those that were read. ``places``: see ``Place``; of them
    follows what ``way(name)`` gives, a tensor's ``Way`` or None, if it is not given. ``left`` is what the file holds
    that is no tensor -> what it is; ``said`` is what whoever opened it has to tell, a line each.
    CheckpointError for more than ``MOST`` tensors, and for a name that is no printable text.
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
        files: Iterable[Path] = (),
        places: Mapping[str, Place] | None = None,
        left: Mapping[str, str] | None = None,
        way: Callable[[str], Way | None] | None = None,
    ) -> None:
        self.specs, self.load = dict(specs), load
        self.path, self.format = path, format
        self.files = tuple(files) or ((path,) if path else ())
        self.places = dict(places or {})
        self.left = dict(left or {})
        self.way = way or self._placed
        self.said: list[str] = []
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.config_path: Path | None = None
        self._close = close
        check_names(self.specs, path)

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Checkpoint:
        """A checkpoint of arrays that are in memory; one that is a checkpoint already stays as it is."""
        if isinstance(arrays, Checkpoint):
            return arrays
        if masked := [name for name, value in arrays.items() if isinstance(value, np.ma.MaskedArray)]:
            raise CheckpointError(f"{masked[0]} is a masked array, whose mask no file would keep; give its data")
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
            cls = catalogue.block(str(self.metadata["block"]))
            if lines := [line for item in fields.items() if (line := beyond(cls, *item, self))]:
                raise ValueError("; ".join(lines))
            return cls.build(fields)
        except (ValueError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{self.path}: its metadata describe no block: {error}") from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.specs:
            raise KeyError(name)
        try:
            array = np.asarray(self.load(name))
            if not array.dtype.isnative:
                array = array.astype(array.dtype.newbyteorder("="))
        except MemoryError as error:
            need = f"{self.specs[name].nbytes / 1e6:.0f} MB"
            raise CheckpointError(f"{self.path}: {name} takes {need}, and there is no room for it") from error
        except CheckpointError:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{self.path}: {name} {self.specs[name].shape} cannot be read: {error}") from error
        if Spec.of(array) != self.specs[name]:
            raise CheckpointError(f"{self.path}: {name} was announced as {self.specs[name]} and is {Spec.of(array)}")
        return array

    def __contains__(self, name: object) -> bool:  # reads nothing
        return name in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._close:
            self._close()

    def _placed(self, name: str) -> Way | None:
        """The way of a tensor that lies in a file as it is, with nothing to be checked."""
        place = self.places.get(name)
        if place is None or place.crc or place.dtype.startswith(">"):
            return None
        path = next((file for file in self.files if file.name == place.file), None) if place.file else self.path
        spec, dtype = self.specs[name], np.dtype(place.dtype)
        plain = dtype.itemsize == spec.itemsize if spec.dtype == "bfloat16" else dtype.name == spec.dtype
        return Way(path, place.offset, spec.shape, dtype) if path and plain else None

    def renamed(self, names: Mapping[str, str]) -> Checkpoint:
        """The same file with other names: ``names`` has a new name -> the file's. Tensors without one are not there."""
        specs = {new: self.specs[old] for new, old in names.items()}
        view = Checkpoint(
            specs, lambda name: self[names[name]], path=self.path, format=self.format, metadata=self.metadata,
            close=self._close, files=self.files, left=self.left, way=lambda name: self.way(names[name]),
        )  # fmt: skip
        view.config_path, view.said = self.config_path, self.said
        return view


def check_names(names: Collection[str], path: Path | None) -> None:
    """CheckpointError for more names than ``MOST``, and for one that is empty, too long, or not printable."""
    if len(names) > MOST:
        raise CheckpointError(f"{path} holds {len(names)} tensors; at most {MOST} are read")
    for name in names:
        if not (0 < len(name) <= LONGEST and name.isprintable()):
            rule = f"names are printable text of 1 to {LONGEST} characters"
            raise CheckpointError(f"{path}: a tensor is called {printable(ascii(name), 80)}; {rule}")


def beyond(cls: type[Block], field: str, value: Any, held: Checkpoint) -> str | None:
    """Why a field's value is more than the tensors ``held`` leave room for; None if it is not.

    A size is at most as large as there are numbers. What counts members of a list is at most as large as there are
    tensors, since a block makes something for each of them. The same holds inside a block among the fields.
    """
    if isinstance(value, Mapping):
        inner = value.get("fields")
        told = inner.items() if isinstance(inner, Mapping) else ()
        return next((f"{field}.{line}" for item in told if (line := beyond(Block, *item, held))), None)
    number = len(value) if isinstance(value, list | tuple) else value
    if type(number) is not int:
        return None
    most, what = max(held.size, ROOM), f"{held.size} numbers"
    if field in cls.counts:
        most, what = len(held), f"{len(held)} tensors"
    if number <= most:
        return None
    return f"{field} = {printable(str(value), 80)}, and the file holds no more than {what}"


@contextmanager
def reading(path: Path, what: str, *errors: type[Exception], tensor: str = "") -> Iterator[None]:
    """Turn ``errors`` of a library into one CheckpointError that says which file is no readable ``what``."""
    try:
        yield
    except CheckpointError:
        raise
    except errors as error:
        why = " ".join(str(error).split()) or type(error).__name__
        where = f"{path}: {tensor}" if tensor else str(path)
        raise CheckpointError(f"{where} cannot be read as {what}: {why}; is it complete, and of that kind?") from error
