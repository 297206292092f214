"""A small ViT of transformers with random weights, saved as Hugging Face saves models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: 2×3 patches of 4×4 pixels, 3 heads of width 4, so no two sizes are alike
SIZES = {
    "image_size": (8, 12), "patch_size": 4, "num_channels": 2, "hidden_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 3, "intermediate_size": 20,
}  # fmt: skip


def make(classifier: bool = True, *, seed: int = 0, **config: Any) -> Any:
    """One in memory. No bias is 0 and no scale is 1, so that none can be lost unseen."""
    import torch
    import transformers

    torch.manual_seed(seed)
    settings = transformers.ViTConfig(**{**SIZES, "num_labels": 5, **config})
    kind = transformers.ViTForImageClassification if classifier else transformers.ViTModel
    model = kind(settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "layernorm" in name and name.endswith("weight") else 0.0
            spread = 0.4 if settings.hidden_size < 100 else 0.08
            parameter.copy_(centre + spread * torch.randn(parameter.shape))
    return model.eval()


def save(folder: Path, classifier: bool = True, **options: Any) -> Path:
    """Save one to ``folder``, which is returned."""
    make(classifier, **options).save_pretrained(folder)
    return folder
