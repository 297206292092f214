"""Reading the files of ``torch.save``, for the porter: weights only, and never in another way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec, reading


def read(path: Path, format: str) -> Checkpoint:
    """A flat state dict: str -> tensor. CheckpointError for anything else."""
    # whatever a hostile pickle makes torch raise, the answer is the same: it is not read in another way
    with reading(path, "a torch file of weights only", Exception):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds {type(state).__name__}; save model.state_dict(), a flat dict of tensors")
    for name, value in state.items():
        dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
        if not isinstance(name, str) or not dense:
            what = f"{type(value).__name__} at {name!r}"
            raise CheckpointError(f"{path} holds {what}; save model.state_dict(), a flat dict of dense tensors")
    specs = {name: Spec(tuple(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in state.items()}

    def load(name: str) -> np.ndarray:
        tensor = state[name].detach().contiguous()
        if tensor.dtype != torch.bfloat16:
            return tensor.numpy()
        with reading(path, "bfloat16, which needs ml_dtypes", ImportError):
            import ml_dtypes
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)

    return Checkpoint(specs, load, path=path, format=format)
