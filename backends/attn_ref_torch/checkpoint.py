"""Reading the files of ``torch.save``, for the porter: weights only, and never in another way."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attn_ref.port.checkpoint import MOST, Checkpoint, CheckpointError, Spec, quantised, reading
from attn_ref.port.shards import ending, join, read_index
from attn_ref.wording import printable

WANTED = "save model.state_dict(), a dict of dense tensors"
#: dicts in dicts, and how many values a file may have; a pickle may hold the same dict many times
DEEPEST, MOST_VALUES = 16, 4 * MOST


def read(path: Path, format: str) -> Checkpoint:
    """The tensors by their keys; those of dicts in dicts as ``outer.inner``. CheckpointError for what is no weights.

    What is no tensor is left out: ``left`` says what it was. Of an index one shard is held at a time.
    """
    if not ending(path):
        return read_one(path, format)
    index = read_index(path)
    joined = join(index, {name: lazy(file, format) for name, file in index.files.items()})
    joined.format = format
    return joined


def lazy(path: Path, format: str) -> Checkpoint:
    """A shard that is read to see what it holds, and again when a tensor of it is asked for."""
    whole = read_one(path, format)

    def load(name: str) -> np.ndarray:
        return shard(path, format)[name]

    return Checkpoint(whole.specs, load, path=path, format=format, left=whole.left)


@lru_cache(maxsize=1)
def shard(path: Path, format: str) -> Checkpoint:
    """The shard that was asked for last."""
    return read_one(path, format)


def read_one(path: Path, format: str) -> Checkpoint:
    """One file."""
    try:  # whatever a hostile pickle makes torch raise, the answer is the same: it is not read in another way
        with torch.serialization.safe_globals(inert(path)):
            # not mapped: then torch looks neither at compression nor at the length of a record
            held = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a torch file of weights only: {why(error)}") from error
    if not isinstance(held, dict):
        raise CheckpointError(f"{path} holds {type(held).__name__}; {WANTED}")
    state, left = Flat(path).of(held)
    if not state:
        what = ", ".join(f"{kind} at {printable(repr(name), 80)}" for name, kind in list(left.items())[:3])
        raise CheckpointError(f"{path} holds no tensor, but {what or 'nothing'}; {WANTED}")
    specs = {name: Spec(tuple(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in state.items()}

    def load(name: str) -> np.ndarray:
        tensor = state[name].detach().contiguous()
        if tensor.dtype != torch.bfloat16:
            return tensor.numpy()
        with reading(path, "bfloat16, which needs ml_dtypes", ImportError, tensor=name):
            import ml_dtypes
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)

    return Checkpoint(specs, load, path=path, format=format, left=left)


class Inert:
    """What stands in the place of an object that is no tensor: it takes whatever it is given, and does nothing."""

    def __new__(cls, *_: object, **__: object) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


#: where the classes live of what training runs save beside their tensors: options, numbers, paths
HARMLESS = (
    "argparse.Namespace", "collections.", "datetime.", "lightning.", "lightning_fabric.", "ml_collections.", "numpy.",
    "omegaconf.", "pathlib.", "pytorch_lightning.", "typing.", "yacs.",
)  # fmt: skip


def inert(path: Path) -> list[Any]:
    """(what stands in its place, name) of the objects in a file that are known to be harmless; none is imported.

    Whatever a name is, it is not looked up. The list keeps files that name something else from being taken for weights.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except MemoryError:
        raise
    except Exception:  # of the older format, or none that can be read, as torch.load will say
        return []
    found = (name for name in names if name.startswith(HARMLESS))
    return [(type(name.rpartition(".")[2], (Inert,), {}), name) for name in found]


class Flat:
    """Dicts in dicts made flat."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, 0
        self.state: dict[str, torch.Tensor] = {}

    def of(self, held: dict[Any, Any]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """(name -> tensor, key at the top -> what is there, where it is no tensor and holds none)."""
        left = {}
        for key, value in held.items():
            before = len(self.state)
            self.visit(key if isinstance(key, str) else repr(key), value, 1)
            if len(self.state) == before:
                left[printable(str(key), 80)] = type(value).__name__
        return self.state, left

    def visit(self, name: str, value: object, depth: int) -> None:
        self.seen += 1
        if self.seen > MOST_VALUES or depth > DEEPEST:
            rule = f"at most {MOST_VALUES} values are read, {DEEPEST} deep"
            raise CheckpointError(f"{self.path} holds dicts in dicts at {printable(repr(name), 80)}; {rule}")
        if isinstance(value, torch.Tensor):
            if problem := odd(value):
                why = quantised(str(value.dtype).removeprefix("torch."))
                raise CheckpointError(f"{self.path} holds {problem} at {printable(repr(name), 80)}; {WANTED}{why}")
            if name in self.state:
                raise CheckpointError(f"{self.path} holds two tensors called {printable(repr(name), 80)}")
            self.state[name] = value
        elif isinstance(value, dict | list | tuple):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                self.visit(f"{name}.{key}", inner, depth + 1)


def odd(value: torch.Tensor) -> str | None:
    """Why a tensor is none that is dense and has numbers of its own; None if it is one."""
    if value.is_quantized:
        return "a quantised tensor"
    if value.layout != torch.strided:
        return f"a tensor of layout {str(value.layout).removeprefix('torch.')}"
    if value.device.type != "cpu":
        return f"a tensor on device {value.device}, which has no numbers"
    if str(value.dtype).removeprefix("torch.") not in KNOWN:
        return f"a tensor of dtype {str(value.dtype).removeprefix('torch.')}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"a tensor {tuple(value.shape)} that repeats {value.untyped_storage().nbytes()} stored bytes (stride 0)"
    return None


#: the dtypes that NumPy has too, and bfloat16
KNOWN = {
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16",
    "uint8", "bool",
}  # fmt: skip


def why(error: Exception) -> str:
    """What torch says, without its advice to read the file in a way that runs the code in it."""
    text = " ".join(str(error).split())
    if found := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it names {found[1]}, which is no tensor, and code in a file is never run; {WANTED}"
    if "weights_only" in text or "weights only" in text.lower():
        return f"it holds more than tensors, and code in a file is never run; {WANTED}"
    return f"{text or type(error).__name__}; is it complete, and of that kind?"
