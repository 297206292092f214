"""The NumPy definitions of blocks over feature maps against their torch mirrors, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

import attn_ref as ar
from attn_ref.block import Block
from benchmarks.timing import Effort, Row, ratios, same

BLOCKS: list[Block] = [
    ar.SqueezeExcitation(channels=64),
    ar.ChannelAttention(channels=64),
    ar.CBAM(channels=64),
    ar.SelectiveKernel(channels=64, groups=32),
]


def rows(effort: Effort, tiny: bool) -> Iterator[Row]:
    """Forward in float32 and inference mode; channels stand last in NumPy, first in torch."""
    torch.set_num_threads(1)
    shape = (1, 5, 6, 64) if tiny else (4, 28, 28, 64)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    size = "b={} {}×{} channels={}".format(*shape)
    for block in BLOCKS:
        weights = {name: value.astype("float32") for name, value in block.init(seed=0).items()}
        mirror = mirrored(block, weights, x)
        same(type(block).__name__, block(weights, x), mirror().movedim(1, -1))
        figures = ratios(lambda b=block, w=weights: b(w, x), mirror, effort)  # type: ignore[misc]
        yield Row("maps", f"{type(block).__name__} in NumPy, forward", "its torch mirror", size, None, **figures)
    yield Row("maps", "control: the last mirror", "itself", size, None, **ratios(mirror, mirror, effort))


def mirrored(block: Block, weights: dict[str, np.ndarray], x: np.ndarray) -> Callable[[], torch.Tensor]:
    """A call of the torch mirror on x."""
    backend = ar.backend("torch")
    layer = backend.load(backend.build(block, "float32"), weights).eval()
    given = torch.from_numpy(np.moveaxis(x, -1, 1).copy())

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return layer(given)

    return run
