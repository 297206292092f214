"""Decoding step by step: keys and values of the steps so far, outside of any block, so that fused calls stay fused.

Attention with a cache is attention with more keys than queries: give the joined keys and values to the block, with
``causal="bottom_right"``, or with ``query_offset`` set to the length before the step. In a model, ``Decoding`` does so
in every layer of it, in any framework.

>>> import attn_ref as ar, numpy as np
>>> cache = ar.KVCache()
>>> for _ in range(3):
...     key, value = cache(np.ones((1, 2, 1, 4)), np.ones((1, 2, 1, 4)))
>>> key.shape, len(cache)
((1, 2, 3, 4), 3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Decoding:
    """The caches of a model's self-attentions: a step computes the keys and values of its own tokens alone.

    Attention has to have ``causal="bottom_right"``. ``concatenate`` is as in ``KVCache``; a step is not compiled. Of a
    model with an encoder, that runs in the first step alone, and its source is the one that counts.

    >>> import attn_ref as ar, numpy as np
    >>> block = ar.LanguageModel(**ar.LanguageModel.example)
    >>> w, ids, decoding = block.init(), np.array([[1, 2, 3, 4]]), ar.Decoding()
    >>> with decoding.step():
    ...     first = block(w, ids[:, :3])
    >>> with decoding.step():
    ...     last = block(w, ids[:, 3:])
    >>> bool(np.allclose(last, block(w, ids)[:, 3:])), len(decoding)
    (True, 4)
    """

    def __init__(self, concatenate: Callable[..., Any] = np.concatenate) -> None:
        self.concatenate = concatenate
        self.caches: list[KVCache] = []
        #: which tokens are real, of all so far, where a step said so
        self.real: Any = None
        #: what an encoder gave in the first step
        self.memory: Any = None
        self.past = self.turn = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        """What is called inside goes on behind the steps before. After an error the steps so far are as they were."""
        global _decoding
        held = [(cache, cache.key, cache.value) for cache in self.caches]
        real, memory = self.real, self.memory
        _decoding, self.turn = self, 0
        try:
            yield
            self.past = len(self)
        except BaseException:
            for cache, key, value in held:
                cache.key, cache.value = key, value
            self.caches, self.real, self.memory = [cache for cache, _, _ in held], real, memory
            raise
        finally:
            _decoding = None

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self.caches[0]) if self.caches else 0


_decoding: Decoding | None = None


def decoding() -> bool:
    """Is this a step of a ``Decoding``? Then layers are given masks for more keys than queries."""
    return _decoding is not None


def past() -> int:
    """How many tokens came before those that the model is given."""
    return 0 if _decoding is None else _decoding.past


def kept(key: Any, value: Any) -> tuple[Any, Any]:
    """Keys and values of a self-attention with those of the steps before; outside of a step as they are."""
    if _decoding is None:
        return key, value
    if _decoding.turn == len(_decoding.caches):
        _decoding.caches.append(KVCache(_decoding.concatenate))
    _decoding.turn += 1
    joined: tuple[Any, Any] = _decoding.caches[_decoding.turn - 1](key, value)
    return joined


def remembered(encode: Callable[[], Any]) -> Any:
    """What ``encode`` gives, without the caches of a step; in later steps of a decoding what it gave in the first."""
    global _decoding
    now = _decoding
    if now is None:
        return encode()
    if now.memory is None:
        _decoding = None
        try:
            now.memory = encode()
        finally:
            _decoding = now
    return now.memory


def seen(real: Any) -> Any:
    """Which tokens are real (b, t), with those of the steps before (b, s); outside of a step as it is."""
    if _decoding is None or (real is None and _decoding.real is None):
        return real
    if real is None or (_decoding.real is None and _decoding.past):
        raise ValueError("padding_mask is given in every step of a decoding, or in none")
    _decoding.real = real if _decoding.real is None else _decoding.concatenate([_decoding.real, real], 1)
    return _decoding.real
