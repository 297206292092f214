"""Reading the files of ``torch.save``, for the porter: weights only, and never in another way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec, reading
from attn_ref.wording import printable

WANTED = "save model.state_dict(), a flat dict of dense tensors"


def read(path: Path, format: str) -> Checkpoint:
    """A flat state dict: str -> tensor. CheckpointError for anything else."""
    try:  # whatever a hostile pickle makes torch raise, the answer is the same: it is not read in another way
        # not mapped: then torch looks neither at compression nor at the length of a record
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a torch file of weights only: {why(error)}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds {type(state).__name__}; {WANTED}")
    for name, value in state.items():
        if (problem := odd(value)) or not isinstance(name, str):
            what = f"{problem or type(value).__name__} at {printable(repr(name), 80)}"
            raise CheckpointError(f"{path} holds {what}; {WANTED}")
    specs = {name: Spec(tuple(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in state.items()}

    def load(name: str) -> np.ndarray:
        tensor = state[name].detach().contiguous()
        if tensor.dtype != torch.bfloat16:
            return tensor.numpy()
        with reading(path, "bfloat16, which needs ml_dtypes", ImportError, tensor=name):
            import ml_dtypes
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)

    return Checkpoint(specs, load, path=path, format=format)


def odd(value: object) -> str | None:
    """Why a value is no dense tensor with numbers of its own; None if it is one."""
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
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
