"""Decoding step by step: keys and values of the steps so far, outside of any block, so that fused calls stay fused.

Attention with a cache is attention with more keys than queries: give the joined keys and values to the block, with
``causal="bottom_right"``, or with ``query_offset`` set to the length before the step.

>>> import attn_ref as ar, numpy as np
>>> cache = ar.KVCache()
>>> for _ in range(3):
...     key, value = cache(np.ones((1, 2, 1, 4)), np.ones((1, 2, 1, 4)))
>>> key.shape, len(cache)
((1, 2, 3, 4), 3)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class KVCache:
    """Joins every step's key (b, g, s, d) and value (b, g, s, e) to those before, along s.

    ``concatenate(arrays, axis)`` is the framework's: ``np.concatenate``, ``torch.cat``, ``keras.ops.concatenate``.
    """

    def __init__(self, concatenate: Callable[..., Any] = np.concatenate) -> None:
        self.concatenate = concatenate
        self.key: Any = None
        self.value: Any = None

    def __call__(self, key: Any, value: Any) -> tuple[Any, Any]:
        """Add a step; return all keys and all values so far."""
        if self.key is not None:
            key, value = self.concatenate([self.key, key], 2), self.concatenate([self.value, value], 2)
        self.key, self.value = key, value
        return key, value

    def __len__(self) -> int:
        """How many keys there are."""
        return 0 if self.key is None else int(self.key.shape[2])
