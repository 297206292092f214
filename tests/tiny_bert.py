"""A small ``BertModel`` of transformers with random weights, saved as Hugging Face saves models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

#: 3 heads of width 4, so no two sizes are alike
SIZES = {
    "vocab_size": 17, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "max_position_embeddings": 16, "type_vocab_size": 2,
}  # fmt: skip


def save(folder: Path, *, seed: int = 0, pooler: bool = True, **config: Any) -> Path:
    """Save one to ``folder``, which is returned. No bias is 0 and no scale is 1, so that none can be lost unseen."""
    import torch
    import transformers

    torch.manual_seed(seed)
    settings = transformers.BertConfig(**{**SIZES, **config})
    model = transformers.BertModel(settings, add_pooling_layer=pooler)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(centre + 0.4 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return folder


def change(folder: Path, target: Path, edit: Any = lambda tensors: tensors, **config: Any) -> Path:
    """A copy of ``folder`` in ``target``: ``edit(tensors)`` gives its tensors, ``config`` changes its config.json."""
    target.mkdir()
    save_file(edit(tensors(folder)), target / "model.safetensors", {"format": "pt"})
    settings = json.loads((folder / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(settings))
    return target


def tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file or of such a folder, read by the library and not by us."""
    found: dict[str, np.ndarray] = load_file(path / "model.safetensors" if path.is_dir() else path)
    return found


def same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Are names, dtypes, shapes and bytes the same?"""
    return a.keys() == b.keys() and all(
        (a[k].dtype, a[k].shape, a[k].tobytes()) == (b[k].dtype, b[k].shape, b[k].tobytes()) for k in a
    )
