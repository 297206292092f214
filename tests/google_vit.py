"""A small ViT as Google published its own: an ``.npz`` of Flax's parameters, and timm, which reads such files."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

#: 3×3 patches of 4×4 pixels, 3 heads of width 4, so no two sizes are alike
WIDTH, HEADS, HIDDEN, LAYERS, PATCH, SIZE, CLASSES = 12, 3, 20, 2, 4, 12, 5


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Flax's names and shapes, by ``vit_jax/models_vit.py``. No bias is 0 and no scale is 1."""
    inner, shapes = WIDTH // HEADS, dict[str, tuple[int, ...]]()
    shapes |= {"cls": (1, 1, WIDTH), "embedding/kernel": (PATCH, PATCH, 3, WIDTH), "embedding/bias": (WIDTH,)}
    shapes["Transformer/posembed_input/pos_embedding"] = (1, (SIZE // PATCH) ** 2 + 1, WIDTH)
    for i in range(LAYERS):
        layer = f"Transformer/encoderblock_{i}"
        for name in ("query", "key", "value"):
            shapes[f"{layer}/MultiHeadDotProductAttention_1/{name}/kernel"] = (WIDTH, HEADS, inner)
            shapes[f"{layer}/MultiHeadDotProductAttention_1/{name}/bias"] = (HEADS, inner)
        shapes[f"{layer}/MultiHeadDotProductAttention_1/out/kernel"] = (HEADS, inner, WIDTH)
        shapes[f"{layer}/MultiHeadDotProductAttention_1/out/bias"] = (WIDTH,)
        shapes |= {f"{layer}/LayerNorm_{n}/{leaf}": (WIDTH,) for n in (0, 2) for leaf in ("scale", "bias")}
        shapes |= {f"{layer}/MlpBlock_3/Dense_0/kernel": (WIDTH, HIDDEN), f"{layer}/MlpBlock_3/Dense_0/bias": (HIDDEN,)}
        shapes |= {f"{layer}/MlpBlock_3/Dense_1/kernel": (HIDDEN, WIDTH), f"{layer}/MlpBlock_3/Dense_1/bias": (WIDTH,)}
    shapes |= {f"Transformer/encoder_norm/{leaf}": (WIDTH,) for leaf in ("scale", "bias")}
    shapes |= {"head/kernel": (WIDTH, CLASSES), "head/bias": (CLASSES,)}
    rng = np.random.default_rng(seed)
    draws = {name: 0.4 * rng.standard_normal(shape) for name, shape in shapes.items()}
    return {name: (x + name.endswith("scale")).astype(np.float32) for name, x in draws.items()}


class Absent:
    """Finds torchvision, which importing timm takes and reading a ViT does not: every name in it is a class."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "torchvision" else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class Empty(ModuleType):
    """A module that has whatever is imported from it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Named(name, (), {})


class Named(type):
    """A class that has whatever is read from it: the name itself."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


def run_by_timm(path: Path, images: np.ndarray) -> np.ndarray:
    """The logits that timm's own model and loader give, in float64; ``images`` is (b, H, W, c)."""
    sys.meta_path.append(Absent())  # type: ignore[arg-type]
    import torch
    from timm.models.vision_transformer import VisionTransformer, _load_weights

    model = VisionTransformer(
        img_size=SIZE, patch_size=PATCH, num_classes=CLASSES, embed_dim=WIDTH, depth=LAYERS, num_heads=HEADS,
        mlp_ratio=HIDDEN / WIDTH, act_layer="gelu_tanh",
    )  # fmt: skip
    with torch.no_grad():
        _load_weights(model, str(path))
        result: np.ndarray = model.double().eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    return result


if __name__ == "__main__":  # in a process of its own: what is taken for torchvision must not be seen elsewhere
    weights, inputs, output = map(Path, sys.argv[1:])
    np.save(output, run_by_timm(weights, np.load(inputs)))
