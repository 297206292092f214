"""PyTorch mirrors of the blocks: ``attn_ref_torch.MultiHeadAttention`` is an ``nn.Module`` that one would ship.

Importing this package imports no framework; the first mirror that is asked for does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from attn_ref.backend import Backend as BaseBackend
from attn_ref.backend import Request, Run, Slot
from attn_ref.block import Block
from attn_ref.discovery import find

__all__ = ["Backend"]


def __getattr__(name: str) -> Any:
    if name[:1].isupper() and (found := find(name, __name__)):
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Backend(BaseBackend):
    """torch: eager, ``torch.compile(fullgraph=True)`` through inductor, and ``torch.export(strict=True)``."""

    name = "torch"
    engines = {"torch": "torch", "torch-compile": "torch", "torch-export": "torch"}
    on_request = frozenset({"torch-compile", "torch-export"})
    shapes = {"torch-compile": 3, "torch-export": 8}
    workers = dict.fromkeys(shapes, 2)
    extra = "torch"

    def build(self, block: Block, dtype: str = "float64") -> Any:
        import torch

        if self.peer:
            from attn_ref_torch.foreign import Foreign

            return Foreign(self.peer, block, self.peer.make(block, dtype)).eval()
        layer = self.mirror(block, dtype)(**block.fields()).to(getattr(torch, dtype)).eval()
        layer.built_for = getattr(torch, dtype)  # what a layer without parameters cannot tell
        return layer

    def fingerprint(self) -> dict[str, Any]:
        import torch

        return {
            "device": str(torch.get_default_device()),
            "threads": torch.get_num_threads(),
            "processor capability": torch.backends.cpu.get_cpu_capability(),
            "oneDNN": torch.backends.mkldnn.enabled,
            "float32 matmul precision": torch.get_float32_matmul_precision(),
            "TF32 in cuDNN": torch.backends.cudnn.allow_tf32,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        }

    def promises(self, block: Block, dtype: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
        from attn_ref_torch.promises import promises

        return promises(self, block, dtype, inputs)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield

    def slots(self, layer: Any) -> dict[str, Slot]:
        from attn_ref_torch.codec import slots

        return slots(layer)

    def listening(self, layer: Any) -> AbstractContextManager[None]:
        from attn_ref_torch.program import listening

        return listening(layer)

    def execute(self, layer: Any, inputs: dict[str, np.ndarray], request: Request) -> Run:
        from attn_ref_torch.run import execute

        return execute(self.peer.engine if self.peer else self.engine, layer, inputs, request)
