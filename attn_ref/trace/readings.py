"""Values as rows of features, and what can be read off them: kernels and their parts, biases, first digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from attn_ref.trace.match import factors, orders, same


def kernels(x: np.ndarray, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """A parameter, and its parts along the first axis, as kernels (in, out) of a shape."""
    size = shape[0] * shape[1]
    if x.ndim < 2 or x.size % size:
        return
    flat = x.reshape(len(x), -1)
    for side in (flat, flat.T):
        for way in (side, side.T) if side.shape[0] == side.shape[1] else (side,):
            if way.shape[1] == shape[0] and len(way) % shape[1] == 0:
                for part in range(len(way) // shape[1]):
                    yield way[part * shape[1] : (part + 1) * shape[1]].T


def digits(x: np.ndarray) -> bytes:
    """The first digits of numbers, and how large they are: alike for those that are the same up to rounding."""
    top = max(float(np.max(np.abs(x))), 1e-300)
    return np.round(np.append(x.ravel() / top, np.log(top)), 5).tobytes()


def biased_first(options: list[Any]) -> list[Any]:
    """Options (record, kernel, bias) in order, but a product after the same with its bias: the latter is meant."""
    full = [w for _, w, b in options if not unbiased(b)]
    return sorted(options, key=lambda one: unbiased(one[2]) and any(same(one[1], w) for w in full))


def unbiased(b: np.ndarray | None) -> bool:
    """Is a bias nothing?"""
    return b is not None and not np.any(np.abs(b) > 1e-9)


@lru_cache(maxsize=8)
def identity(size: int) -> np.ndarray:
    """Ones on the diagonal."""
    return np.eye(size)


def picks(w: np.ndarray) -> bool:
    """Does a kernel do no more than to pick features, or to put them in an order and scale each, as a norm does?"""
    counts = np.abs(w) > 1e-9 * np.max(np.abs(w), initial=0.0)
    if not (counts.sum(0) == 1).all():
        return False
    alone = w.shape[0] == w.shape[1] > 1 and (counts.sum(1) == 1).all()
    return bool(alone or np.max(np.abs(w[counts] - 1)) < 1e-9)


def joined_parts(options: Sequence[Any], parts: int) -> Iterator[Any]:
    """Kernels that are made of one for each head: in turn (q, k, v of each head), or one after the other.

    Those of one line first: a line of a loop gives what is one kind.
    """
    if len(options) % parts:
        return
    kinds = len(options) // parts
    in_turn = [options[i::kinds] for i in range(kinds)]
    after = [options[i * parts : (i + 1) * parts] for i in range(kinds)]
    for group in sorted([*in_turn, *after], key=lambda group: len({record.line for record, *_ in group})):
        bias = None if group[0][2] is None else np.concatenate([b for _, _, b in group])
        yield group[-1][0], np.concatenate([w for _, w, _ in group], axis=1), bias


def parts_of(options: Sequence[Any], parts: int) -> Iterator[Any]:
    """The kernels that one is made of, one after the other or feature by feature in turn."""
    for record, w, b in options:
        n = w.shape[1] // parts
        for part in [
            *(slice(i * n, (i + 1) * n) for i in range(parts)),
            *(slice(i, None, parts) for i in range(parts)),
        ]:
            yield record, w[:, part], None if b is None else b[part]


def readings(value: np.ndarray, leading: tuple[int, ...], n: int) -> Iterator[np.ndarray]:
    """``value`` as rows (leading axes, n), for every order of axes; n may be two axes of its own, heads and widths."""
    seen: set[bytes] = set()
    for split in factors(n):
        sizes = (*leading, *split)
        for order in orders(value.shape, sizes):
            if len(split) == 2 and joined(value.shape, sizes, order):
                continue
            axes = value.reshape([sizes[i] for i in order])
            rank = [i for i in range(len(sizes)) if i in order]
            y = np.ascontiguousarray(axes.transpose([order.index(i) for i in rank]).reshape(-1, n))
            if (told := y.tobytes()) not in seen:
                seen.add(told)
                yield y


def joined(shape: tuple[int, ...], sizes: tuple[int, ...], order: tuple[int, ...]) -> bool:
    """Do the last two axes of ``sizes`` lie within one axis of ``shape``? Then they are no two axes of it."""
    at, last = 0, {len(sizes) - 2, len(sizes) - 1}
    for size in (n for n in shape if n != 1):
        here, group = 1, set()
        while at < len(order) and here < size:
            group.add(order[at])
            here *= sizes[order[at]]
            at += 1
        if last <= group:
            return True
    return False
