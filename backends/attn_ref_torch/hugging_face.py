"""Models of transformers as one end of a conversion: loaded from a file, and listened to.

torch and transformers are imported where they are used: the maps of these models can be read without them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attn_ref.block import Block
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Peer

#: what transformers calls an activation -> a block's; several words are one function
WORDS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu",
    "quick_gelu": "quick_gelu",
}  # fmt: skip
#: a block's activation -> the word that is written
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu", "quick_gelu": "quick_gelu"}


@contextmanager
def folder_of(path: Path, config_path: Path | None, config: Any) -> Iterator[Path]:
    """A folder as ``from_pretrained`` wants it: the weights, and ``config_path`` or else ``config``."""
    with tempfile.TemporaryDirectory(prefix="attn_ref-") as name:
        folder = Path(name)
        if path.name.endswith(".index.json"):
            (folder / "model.safetensors.index.json").symlink_to(path)
            for shard in set(json.loads(path.read_text("utf-8"))["weight_map"].values()):
                (folder / shard).symlink_to(path.parent / shard)
        else:
            target = "model.safetensors" if path.suffix == ".safetensors" else "pytorch_model.bin"
            (folder / target).symlink_to(path)
        if config_path:
            shutil.copy(config_path, folder / "config.json")
        else:
            config.save_pretrained(folder)
        yield folder


def pretrained(kind: Any, job: Job, config: Any, *, attention: str, idle: tuple[str, ...] = (), **options: Any) -> Any:
    """The model of a job's file in float64, with ``config`` where the job has none.

    ``attention``: which of transformers' implementations runs. ``idle``: parameters that only training reads.
    ValueError if the file leaves another parameter without a value: transformers would draw one.
    """
    import torch

    with folder_of(Path(job.path), Path(job.config) if job.config else None, config) as folder:
        model, info = kind.from_pretrained(
            folder, dtype=torch.float64, attn_implementation=attention, output_loading_info=True,
            local_files_only=True, **options,
        )  # fmt: skip
    missing = [name for name in info["missing_keys"] if name not in idle]
    if wrong := [*missing, *info["mismatched_keys"]]:
        raise ValueError(f"transformers finds no value for {', '.join(map(str, wrong))}")
    return model.eval()


def outcome(peer: Peer, block: Block, model: Any, job: Job) -> Outcome:
    """What the model gives on the job's inputs, and the values inside that the block taps."""
    import torch
    import transformers

    from attn_ref.engines import backend
    from attn_ref_torch.foreign import Foreign

    run = backend("torch").run(Foreign(peer, block, model).eval(), job.inputs)
    by = f"transformers {transformers.__version__} {type(model).__name__} on torch {torch.__version__}, float64"
    return Outcome(run.output, run.taps, by)
