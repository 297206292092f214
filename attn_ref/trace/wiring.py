"""Weights of the reference from the values of a trace, whatever a layer calls and packs them.

The reference runs with weights that are not known. Where it asks for one, in a linear layer, a convolution or a norm,
its input is known by then, and so the weights can be read off any value that depends on the input in that way: by least
squares, which are exact where there are more tokens than features. Several values may; each is a choice, and what comes
after decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from attn_ref.trace.asked import Asked, NotSolved, Unknown
from attn_ref.trace.match import Finder, exact, same, turned
from attn_ref.trace.readings import biased_first, digits, joined_parts, kernels, parts_of, picks, readings, unbiased
from attn_ref.trace.record import Record

#: of so many parts a projection may be made, one for each head
PARTS = 32
#: of the largest direction of an input; one below that is not seen well enough to tell a kernel
WEAK = 1e-6
#: of so many one value may be the projection, none of which is a value of its own
PACKED = (2, 3, 4)


class Solver:
    """Finds parameters; ``choose(name, options)`` picks one of several possible values."""

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        finder: Finder,
        choose: Callable[[str, Sequence[Any]], Any],
        memory: dict[Any, Any],
        parameters: Mapping[str, np.ndarray],
        given: Sequence[np.ndarray],
    ) -> None:
        #: values that the layer has though no operation gave them: inputs, and what stands in the place of taps
        self.given = given
        self.shapes, self.finder, self.choose, self.memory = shapes, finder, choose, memory
        self.parameters = parameters
        self.found: dict[str, np.ndarray] = {}
        #: parameter -> the record that it was read off
        self.read: dict[str, Record] = {}

    def weights(self) -> Asked:
        """To be given to a block's ``forward``."""
        return Asked(self)

    def seen(self, x: np.ndarray) -> bool:
        """Has the layer this value? What it has not, nothing of it depends on."""
        key = ("find", x.shape, x.tobytes())
        if key not in self.memory:
            self.memory[key] = self.finder.find(x)
        if self.memory[key] is None and self.finder.in_parts(x):
            return True
        return self.memory[key] is not None or any(x.size == y.size and same(x.reshape(y.shape), y) for y in self.given)

    def patched(self, x: np.ndarray, kernel: Unknown) -> bool:
        """Has the layer the value that is convolved, or what it was before it was padded?"""
        if self.seen(x):
            return True
        inner = x
        for axis, size in enumerate(kernel.shape[:-2], start=1):
            inner = inner.take(range(size // 2, x.shape[axis] - size // 2), axis)
        return inner.size < x.size and inner.size > 0 and self.seen(inner)

    def affine(
        self, x: np.ndarray, kernel: Unknown, bias: Unknown | None, of: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Kernel and bias of a value that is x W + b; x may be patches ``of`` another value."""
        if x.shape[-1] != int(np.prod(kernel.shape[:-1])) or not np.isfinite(x).all():
            raise NotSolved(kernel.name)
        if not (self.seen(x) if of is None else self.patched(of, kernel)):
            raise NotSolved(kernel.name)
        options = self.affine_options(x, kernel.shape[-1], bias is not None)
        if not options:
            raise NotSolved(kernel.name)
        record, w, b = self.choose(kernel.name, options)
        self.keep(kernel, w.reshape(kernel.shape), record)
        if bias is not None:
            self.keep(bias, b, record)
        return self.found[kernel.name], None if bias is None else self.found[bias.name]

    def affine_options(self, x: np.ndarray, n: int, biased: bool) -> list[Any]:
        """(record, kernel, bias), of every value with n features that is affine in x, each kernel once."""
        key = ("affine", x.tobytes(), x.shape, n, biased)
        if key in self.memory:
            return self.memory[key]  # type: ignore[no-any-return]
        rows = x.reshape(-1, x.shape[-1])
        columns = np.concatenate([rows, np.ones((len(rows), 1))], axis=1) if biased else rows
        # what comes out of a norm sums to zero: then one kernel of many is as good as another, on all that comes of it
        whole = len(rows) > columns.shape[1] and np.linalg.matrix_rank(columns, rtol=WEAK) == columns.shape[1]
        inverse = np.linalg.pinv(columns)

        def of(size: int) -> list[tuple[Record, np.ndarray, np.ndarray | None]]:
            """Those with so many features."""
            found: dict[bytes, Any] = {}
            owned: set[bytes] = set()
            for record in self.finder.of_size(len(rows) * size):
                for y in readings(record.value, x.shape[:-1], size) if np.isfinite(record.value).all() else ():
                    solution = inverse @ y
                    top = np.max(np.abs(y), initial=0.0)
                    if top == 0 or np.max(np.abs(columns @ solution - y)) > exact() * top:
                        continue
                    w, b = (solution[:-1], solution[-1]) if biased else (solution, None)
                    if not whole and (its := self.own(rows, y, biased)):
                        w, b = its
                        owned.add(digits(solution))
                    if picks(w) or np.max(np.abs(w)) < 1e-9 * top:
                        continue  # it is x itself, or does not depend on it
                    found.setdefault(digits(solution), (record, w, b))
            return biased_first([one for told, one in found.items() if not owned or told in owned])

        self.memory[key] = (
            of(n)
            or [one for m in range(2, min(n, PARTS) + 1) if n % m == 0 for one in joined_parts(of(n // m), m)]
            or [one for m in PACKED for one in parts_of(of(m * n), m)]
        )
        return self.memory[key]  # type: ignore[no-any-return]

    def own(self, rows: np.ndarray, y: np.ndarray, biased: bool) -> tuple[np.ndarray, np.ndarray | None] | None:
        """The layer's own kernel that makes y of ``rows``, and its bias; None if none of its does."""
        shape, top = (rows.shape[1], y.shape[1]), np.max(np.abs(y), initial=0.0)
        for x in self.parameters.values():
            for kernel in kernels(x, shape):
                left = y - rows @ kernel
                bias = left.mean(0)
                if np.max(np.abs(left - (bias if biased else 0.0))) <= exact() * top:
                    return kernel, bias if biased else None
        return None

    def normed(self, x: np.ndarray, scale: Unknown, offset: Unknown | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Scale and offset, feature by feature, of a value that is x γ + β."""
        options = self.featurewise_options(x, True, offset is not None)
        if not options:
            raise NotSolved(scale.name)
        record, g, b = self.choose(scale.name, options)
        self.keep(scale, g, record)
        if offset is not None:
            self.keep(offset, b, record)
        return g, b if offset is not None else None

    def featurewise(self, wanted: Unknown, x: np.ndarray, *, add: bool) -> np.ndarray:
        """A factor, or a term, for each feature of x."""
        options = self.featurewise_options(x, not add, add)
        if not options and not add:  # a norm may scale and shift at once; the shift is asked for next
            options = self.featurewise_options(x, True, True)
        if wanted.shape == (1,):  # one number for all features
            options = [
                (r, g[:1], b[:1]) for r, g, b in options if same(b if add else g, np.full_like(g, (b if add else g)[0]))
            ]
        if not options:
            raise NotSolved(wanted.name)
        record, g, b = self.choose(wanted.name, options)
        self.keep(wanted, (b if add else g) - wanted.shift, record)
        return self.found[wanted.name] + wanted.shift

    def featurewise_options(self, x: np.ndarray, scales: bool, shifts: bool) -> list[Any]:
        """(record, γ, β) of every value that is x γ + β feature by feature, each γ and β once."""
        if not np.isfinite(x).all():
            return []
        key = ("features", x.tobytes(), x.shape, scales, shifts)
        if key in self.memory:
            return self.memory[key]  # type: ignore[no-any-return]
        rows = x.reshape(-1, x.shape[-1])
        found: dict[bytes, Any] = {}
        for record in self.finder.of_size(x.size):
            for y in readings(record.value, x.shape[:-1], x.shape[-1]) if np.isfinite(record.value).all() else ():
                top = np.max(np.abs(y), initial=0.0)
                mx, my = (rows.mean(0), y.mean(0)) if shifts else (0.0, 0.0)
                spread = ((rows - mx) ** 2).sum(0)
                if top == 0 or (spread <= 0).any():
                    continue
                g = ((rows - mx) * (y - my)).sum(0) / spread if scales else np.ones(x.shape[-1])
                b = my - g * mx if shifts else np.zeros(x.shape[-1])
                if np.max(np.abs(rows * g + b - y)) <= exact() * top:
                    found.setdefault(digits(np.concatenate([g, b])), (record, g, b))
        # γ x, and the same with β: the one that is shifted is meant; x itself only where there is no other
        self.memory[key] = sorted(
            found.values(), key=lambda one: (scales and same(one[1], np.ones_like(one[1])), shifts and unbiased(one[2]))
        )
        return self.memory[key]  # type: ignore[no-any-return]

    def grouped(
        self, patches: Sequence[np.ndarray], kernel: Unknown, bias: Unknown | None, of: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Kernel and bias of a convolution in groups: each has patches of its own, and features of the output."""
        if not self.patched(of, kernel):
            raise NotSolved(kernel.name)
        rows = [part.reshape(-1, part.shape[-1]) for part in patches]
        one = np.ones((len(rows[0]), 1 if bias is not None else 0))
        columns = [np.concatenate([part, one], axis=1) for part in rows]
        inverse = [np.linalg.pinv(part) for part in columns]
        n, options = kernel.shape[-1], []
        for record in self.finder.of_size(len(rows[0]) * n):
            for y in readings(record.value, patches[0].shape[:-1], n) if np.isfinite(record.value).all() else ():
                parts = np.split(y, len(patches), axis=1)
                found = [back @ part for back, part in zip(inverse, parts, strict=True)]
                left = max(float(np.max(np.abs(c @ w - p))) for c, w, p in zip(columns, found, parts, strict=True))
                if left <= exact() * np.max(np.abs(y)) and np.max(np.abs(y)) > 0:
                    solution = np.concatenate(found, axis=1)
                    options.append((record, *((solution[:-1], solution[-1]) if bias is not None else (solution, None))))
        if not options:
            raise NotSolved(kernel.name)
        options.sort(key=lambda one: unbiased(one[2]))
        record, w, b = self.choose(kernel.name, options)
        self.keep(kernel, w.reshape(kernel.shape), record)
        if bias is not None:
            self.keep(bias, b, record)
        return self.found[kernel.name], None if bias is None else self.found[bias.name]

    def batch_normed(self, x: np.ndarray, w: Asked, eps: float) -> None:
        """Statistics, scale and offset of a batch norm in evaluation, from the layer's own where it has them.

        What is seen is γ / √(variance + ε) and β − mean · that alone: where none of the layer's parameters give it, the
        statistics are put to 0 and 1.
        """
        options = self.featurewise_options(x, True, True)
        if not options:
            raise NotSolved(w["scale"].name)
        record, g, b = self.choose(w["scale"].name, options)
        own = [p for p in self.parameters.values() if p.shape == g.shape]
        fits = (
            (scale, offset, mean, variance)
            for variance in own if (variance > 0).all()
            for scale in own if same(scale / np.sqrt(variance + eps), g)
            for mean in own for offset in own if same(offset - mean * g, b)
        )  # fmt: skip
        if (found := next(fits, None)) is None:
            if any(name.endswith(("running_var", "moving_variance")) for name in self.parameters):
                raise NotSolved(w["scale"].name)
            found = (g * np.sqrt(1 + eps), b, np.zeros_like(g), np.ones_like(g))
        for name, value in zip(("scale", "offset", "mean", "variance"), found, strict=True):
            self.keep(w[name], value, record)

    def sunk(self, scores: np.ndarray, sink: Unknown) -> np.ndarray:
        """The logit of each head that takes weight and has no value, from weights that do not sum to 1."""
        top = np.max(scores, axis=-1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        total = np.exp(scores - top).sum(-1)
        options = []
        for record in self.finder.of_size(scores.size):
            if not np.isfinite(record.value).all() or (record.value < 0).any():
                continue
            for weights in turned(record.value, scores.shape):
                kept = weights.sum(-1)
                if not ((kept > 0) & (kept < 1)).all():
                    continue
                found = np.log(total * (1 / kept - 1)) + top[..., 0]
                each = found.mean((0, 2))
                if np.max(np.abs(found - each[None, :, None])) <= 1e-7 * max(np.max(np.abs(each)), 1.0):
                    options.append((record, each, None))
        if not options:
            raise NotSolved(sink.name)
        record, each, _ = self.choose(sink.name, options)
        self.keep(sink, each, record)
        return self.found[sink.name][:, None, None]

    def keep(self, wanted: Unknown, value: np.ndarray, record: Record) -> None:
        """It is known now."""
        self.found[wanted.name] = np.asarray(value, np.float64).reshape(wanted.shape)
        self.read[wanted.name] = record
