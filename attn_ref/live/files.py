"""What the command reads and writes: an example's arrays, and the target's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.live.ends import end
from attn_ref.places import arrive, beside, refuse_place, writing


def example(path: str) -> Any:
    """What a model is called with: of ``.npy`` one array, of ``.npz`` arrays by name, or in turn if they have none.

    ValueError for anything else.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as .npy or .npz: {error}") from error
    if isinstance(found, np.ndarray):
        return found
    with found:
        arrays = {name: found[name] for name in found.files}
    if not arrays:
        raise ValueError(f"{path} holds no array")
    in_turn = [f"arr_{i}" for i in range(len(arrays))]
    return tuple(arrays[name] for name in in_turn) if [*arrays] == in_turn else arrays


def place_for(model: Any, path: str) -> None:
    """ValueError, before any work is done, if a model's weights cannot be written there."""
    one = end("target", model)
    if not path.endswith(one.live.ENDINGS):
        raise ValueError(f"--out of a model of {one.framework} ends with {', '.join(one.live.ENDINGS)}; got {path}")
    refuse_place(Path(path))


def save(model: Any, path: str) -> None:
    """Write a model's weights, whole or not at all."""
    one = end("target", model)
    ending = next(x for x in one.live.ENDINGS if path.endswith(x))
    with beside(path) as temporary, writing(path):
        whole = temporary.with_name(temporary.name + ending)
        try:
            one.live.save(model, str(whole))
            whole.replace(temporary)
        finally:
            whole.unlink(missing_ok=True)
        arrive(temporary, path)
