"""Ten pairs of live models, one of torch and one of Keras, with what each is called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from wild import live_keras, live_torch


@dataclass(frozen=True)
class Pair:
    """Two models that compute the same, and an example for either; ``said``: is the target's to be given?"""

    torch: Callable[..., Any]
    keras: Callable[..., Any]
    example: tuple[Any, ...]
    keras_example: tuple[Any, ...]
    said: bool = False


def ids(vocab: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, vocab, (2, 7))


def maps(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps with channels first, and last."""
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return x, np.moveaxis(x, 1, -1).copy()


def over_tokens(torch: Any, keras: Any, vocab: int) -> Pair:
    return Pair(torch, keras, (ids(vocab),), (ids(vocab),))


def over_maps(torch: Any, keras: Any, *shape: int) -> Pair:
    first, last = maps(*shape)
    return Pair(torch, keras, (first,), (last,))


PADDING = np.arange(7)[None] >= np.array([[7], [5]])
PAIRS = {
    "gpt": over_tokens(live_torch.GPT, live_keras.GPT, 29),
    "vit": over_maps(live_torch.ViT, live_keras.vit, 2, 3, 8, 12),
    "se_resnet": over_maps(live_torch.SEResNet, live_keras.SEResNet, 2, 3, 6, 10),
    "cbam": over_maps(live_torch.CBAMNet, live_keras.cbam_net, 2, 3, 6, 8),
    "bert": Pair(live_torch.Bert, live_keras.Bert, (ids(31), PADDING), (ids(31), ~PADDING), said=True),
    "t5": over_tokens(live_torch.T5Encoder, live_keras.T5Encoder, 23),
    "llama": over_tokens(live_torch.Llama, live_keras.Llama, 27),
    "speech": over_maps(live_torch.SpeechNet, live_keras.SpeechNet, 2, 10, 7),
    "non_local": over_maps(live_torch.NonLocalNet, live_keras.NonLocalNet, 2, 3, 6, 10),
    "unet": over_maps(live_torch.UNet, live_keras.unet, 2, 3, 4, 6),
}
#: pair, fault, the layer in which it stands by the names of the target; its line ends with ``# fault``
FAULTS = {
    "eps": ("gpt", "block_1/layer_normalization"),
    "gelu": ("gpt", "block_1"),
    "epsilon": ("se_resnet", "se_block/batch_normalization_2"),
    "norm": ("bert", "layer_normalization_1"),
    "scale": ("t5", "t5_layer"),
}
