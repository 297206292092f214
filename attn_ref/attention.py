"""Attention maps: what the taps of a model say about who attends to whom, per layer, per head, and through all layers.

They come from the taps of any implementation: of the reference (``with ar.record() as taps``), or of a mirror
(``ar.backend("torch").run(…).taps``).

>>> import numpy as np, attn_ref as ar
>>> block = ar.VisionTransformer(**ar.VisionTransformer.example)
>>> with ar.record() as taps:
...     _ = block(block.init(), np.ones((1, 8, 12, 3)))
>>> layers = ar.attention.weights(taps)  # one array (b, h, t, s) a layer
>>> ar.attention.patch_grid(ar.attention.rollout(layers), (2, 3)).shape
(1, 2, 3)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attn_ref.tap import Tapped, transpose_to

#: the labels of an attention map, with heads and without
MAPS = ({"b", "h", "t", "s"}, {"b", "t", "s"})
#: a tap of layer N, whatever stands before and below
LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def weights(taps: Mapping[str, Tapped]) -> list[np.ndarray]:
    """The attention weights of every layer, (b, h, t, s) each, first layer first. ValueError if there are none.

    Layers are those of ``layers.N``. Every other block that attends over places is one too, in order of computation and
    before them. A block without heads has one.
    """
    found = [n for n, (_, labels) in taps.items() if n.rpartition(".")[2] == "weights" and set(labels.split()) in MAPS]
    if not found:
        raise ValueError(f"no tap 'weights' of queries and keys; the taps are {', '.join(taps) or 'none'}")
    layers: dict[tuple[int, int], list[str]] = {}
    for i, name in enumerate(found):
        match = LAYER.search(name)
        layers.setdefault((1, int(match[1])) if match else (0, i), []).append(name)
    if several := next((names for names in layers.values() if len(names) > 1), None):
        raise ValueError(f"a layer has several weights, {', '.join(several)}; give the taps of one of them")
    return [headed(*taps[layers[i][0]]) for i in sorted(layers)]


def headed(value: Any, labels: str) -> np.ndarray:
    """(b, h, t, s), with one head where there are none."""
    if "h" in labels.split():
        return np.asarray(transpose_to(np.asarray(value), labels, "b h t s"))
    return np.asarray(transpose_to(np.asarray(value), labels, "b t s"))[:, None]


def mean_over_heads(layers: Sequence[Any]) -> list[np.ndarray]:
    """(b, h, t, s) → (b, t, s), for every layer."""
    return [np.mean(layer, axis=1) for layer in layers]


def rollout(layers: Sequence[Any], *, residual: float = 0.5) -> np.ndarray:
    """How much of each token's information each token of the last layer holds, (b, t, t): every row sums to 1.

    R = Â_L ⋯ Â_1, where Â = (1 − residual)·A + residual·I with rows that sum to 1, and A is a layer's mean over heads.

    Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3 (there ``residual`` is 0.5). It
    leaves the values, the feed-forward networks and the norms out of account: a picture, not a proof.
    """
    if not layers:
        raise ValueError("rollout takes at least one layer")
    if not 0 <= residual < 1:
        raise ValueError(f"residual should be in [0, 1); got {residual!r}")
    total: Any = None
    for a in mean_over_heads([np.asarray(layer, np.float64) for layer in layers]):
        if a.shape[-1] != a.shape[-2]:
            raise ValueError(f"rollout takes self-attention, as many keys as queries; got {a.shape[-2:]}")
        mixed = (1 - residual) * a + residual * np.eye(a.shape[-1])
        mixed = mixed / mixed.sum(axis=-1, keepdims=True)
        if total is not None and total.shape[-1] != mixed.shape[-1]:
            raise ValueError(
                f"rollout takes layers of as many tokens each; got {total.shape[-1]} and {mixed.shape[-1]}"
            )
        total = mixed if total is None else mixed @ total
    return np.asarray(total)


def patch_grid(attention: Any, grid: tuple[int, int]) -> np.ndarray:
    """(…, t, s) → (…, rows, columns): how the patches are attended to, by the class token or on the mean.

    With a token more than the patches of ``grid`` the first is the class token, and its row is what counts; otherwise
    it is the mean over all tokens. Patches come row by row. ValueError if the tokens are neither many.
    """
    attention, (rows, columns) = np.asarray(attention), grid
    tokens, extra = attention.shape[-1], attention.shape[-1] - rows * columns
    if extra not in (0, 1) or attention.shape[-2] != tokens:
        raise ValueError(
            f"{rows} × {columns} patches are {rows * columns} tokens, or one more with a class token; "
            f"got attention {attention.shape[-2:]}"
        )
    seen = attention[..., 0, 1:] if extra else attention.mean(axis=-2)
    return np.asarray(seen.reshape(*seen.shape[:-1], rows, columns))
