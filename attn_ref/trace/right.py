"""Which values of a layer are right on its way to a place: those that the reference has, and what comes to the same.

Right are the reference's taps, what it computes between them, multiples of one, and products of one with parameters. In
a table, which does not depend on the input, no multiple is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from attn_ref.tap import replace
from attn_ref.trace import plain_numpy
from attn_ref.trace.came import above, below
from attn_ref.trace.faults import Fault
from attn_ref.trace.flow import INPUT
from attn_ref.trace.match import MOST_PARTS, hides, laid, marks, orders, same
from attn_ref.trace.match import alike as alike_sums
from attn_ref.trace.read_off import parts
from attn_ref.trace.record import Record
from attn_ref.trace.search import Search
from attn_ref.weights import Weights

#: what layers take of a tap at once, such as of angles
FUNCTIONS = (np.cos, np.sin, np.exp, np.sqrt, np.square)
#: operations that multiply with a parameter, and those that take a part of a value
PRODUCTS = (
    "mm", "addmm", "matmul", "linear", "convolution", "dot_general", "einsum", "dot", "matmulv2", "biasadd", "add",
)  # fmt: skip
PARTS = ("split", "split_with_sizes", "unbind", "chunk", "getitem", "slice", "select", "_unsafe_view", "strided_slice")


class Right:
    """The values that the reference has on its own way, up to an order of axes."""

    def __init__(self, search: Search, fault: Fault, stand_ins: Mapping[str, np.ndarray]) -> None:
        block, attempt = search.block, fault.attempt
        #: which keys the queries attend to, where that is the question: (…, t, s)
        self.keep = ~hides(fault.ours) if fault.tap.rpartition(".")[2] in ("masked", "weights") else None
        if self.keep is not None and fault.tap.endswith("weights"):
            self.keep = fault.ours != 0
        self.trace, self.of_input = search.trace, below(search.trace.parents, {INPUT})
        tapped = (r.number for r in attempt.taps.values() if r is not None)
        self.biased = "bias" in search.inputs
        #: the records that are right, as far as they were looked at
        self.fine = above(search.trace.parents, {*tapped})
        scalings = [x for _, part in parts(block) for name, x in part.fields().items() if "scaling" in name and x]
        #: by how much positions may go up
        self.counting = {1.0, *(float(x) for x in scalings), *(1 / x for x in scalings)}
        weights = {n: attempt.weights.get(n, np.zeros(p.shape)) for n, p in block.params().items()}
        names = {name: (lambda x, value=value: value) for name, value in stand_ins.items()}

        def run(**inputs: np.ndarray) -> np.ndarray:
            with replace(names):
                return block.forward(Weights(weights), **inputs)

        try:
            with np.errstate(all="ignore"):
                records = plain_numpy.trace(plain_numpy.double(run), [], search.inputs).records
        except Exception:  # it goes on only as far as its weights are known
            records = []
        taps = [np.asarray(x.value, np.float64) for x in attempt.values.values()]
        with np.errstate(all="ignore"):
            more = [f(x) for x in taps for f in FUNCTIONS]
            split = [x for x in [*taps, *floats(search)] if x.ndim == 4 and x.shape[-1] % 2 == 0]
            more += [turned for x in split for turned in quarter(x)]
            angles = [np.asarray(x.value) for name, x in attempt.values.items() if name.endswith("angles")]
            rates = [x[..., 1, :] - x[..., 0, :] for x in angles if x.ndim > 1 and x.shape[-2] > 1]
            rates += [x * n for x in rates for n in scalings]
            more += [*rates, *(1 / x for x in rates)]
            more = [x for x in more if np.isfinite(x).all()]
        self.length = angles[0].shape[-2] if angles and angles[0].ndim > 1 else 0
        every = [*taps, *more, *search.trace.parameters.values(), *floats(search)]
        every += [r.value for r in records]
        self.by_size: dict[int, list[tuple[np.ndarray, tuple[float, float, float]]]] = {}
        for value in [*every, *slices(every)]:
            if np.asarray(value).dtype.kind == "f":
                self.by_size.setdefault(value.size, []).append((value, marks(value)))

    def has(self, record: Record, multiples: bool) -> bool:
        """Is it one of them, or a multiple of one; one over and over, or a number alone; or a projection of one?"""
        table = self.biased and record.number not in self.of_input  # a bias that the layer makes
        right = table or self.known(record, multiples) or self.projects(record)
        if right:
            self.fine.add(record.number)
        return right

    def projects(self, record: Record) -> bool:
        """Is it a product of one with parameters, or a part of such a product?"""
        operation = record.operation.partition(" ")[0].lower()
        came = self.trace.parents.get(record.number, frozenset()) & self.of_input
        return operation in PRODUCTS + PARTS and len(came) == 1 and all(n in self.fine or n == INPUT for n in came)

    def known(self, record: Record, multiples: bool) -> bool:
        """Is it one of them, or a multiple of one; one over and over, or a number alone?"""
        value = np.where(hides(record.value), -np.inf, record.value)
        seen = value[np.isfinite(value)]
        if not seen.size or (seen == seen.flat[0]).all() or (seen == np.rint(seen)).all():
            return self.hides_as(value)
        steps = np.diff(value.ravel()) if seen.size == value.size else np.zeros(0)
        if steps.size and np.ptp(steps) <= 1e-12 * np.max(np.abs(steps)):  # it counts: tokens by 1, or features
            return len(value.ravel()) != self.length or any(abs(steps[0] - x) < 1e-12 for x in self.counting)
        # of a table, which does not depend on the input, a factor is wrong
        multiples = multiples and record.number in self.of_input
        return any(self.among(x, multiples) for x in (value, *halves(value)))

    def hides_as(self, value: np.ndarray) -> bool:
        """Does it hide the keys that the reference hides, if it hides any?"""
        if self.keep is None or value.ndim < 2 or value.shape[-2:] != self.keep.shape[-2:]:
            return True
        if not hides(value).any() and not ((value == 0) | (value == 1)).all():
            return True
        open_to = ~hides(value) if hides(value).any() else value != 0
        keep = self.keep.reshape(-1, *self.keep.shape[-2:])
        every = open_to.reshape(-1, *keep.shape[-2:])
        return all((x == keep).all((1, 2)).any() or (x == ~keep).all((1, 2)).any() for x in every)

    def among(self, value: np.ndarray, multiples: bool) -> bool:
        """Is it one of them, or, with ``multiples``, one of those?"""
        mine = marks(value)
        for other, its in self.by_size.get(value.size, ()):
            more = (mine[0] - its[0]) / value.size
            if self.keep is not None and other.shape == value.shape and same(other + more, value):
                return True  # scores and a number that is added to all
            factor = mine[2] / its[2] if its[2] > 0 else 0.0
            factor = 1.0 if abs(factor - 1) < 1e-9 else factor
            if factor <= 0 or not np.isfinite(factor):
                continue
            for sign in (factor, -factor):
                scaled = (its[0] * sign, its[1] * sign * sign, its[2] * factor)
                if (multiples or factor == 1) and alike_sums(mine, scaled) and fits(other * sign, value):
                    return True
        return False


def fits(a: np.ndarray, b: np.ndarray) -> bool:
    """Is one the other, in some order of axes, of which those that are merged stay in their order?"""
    return any(
        in_order(order, x.shape, y.shape) and same(laid(x, y.shape, order), y)
        for x, y in ((a, b), (b, a))
        for order in orders(x.shape, y.shape)
    )


def in_order(order: Sequence[int], shape: Sequence[int], sizes: Sequence[int]) -> bool:
    """Are the axes of ``sizes`` that are one of ``shape`` merged in their order?"""
    at = 0
    for size in (n for n in shape if n != 1):
        here, last = 1, -1
        while here < size:
            if order[at] < last:
                return False
            here, last, at = here * sizes[order[at]], order[at], at + 1
    return True


def floats(search: Search) -> list[np.ndarray]:
    """The real inputs."""
    return [x for x in map(np.asarray, search.inputs.values()) if x.dtype.kind == "f"]


def slices(values: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """What a loop over the heads, or over the examples, has of values (b, h, …) one by one."""
    for x in values:
        for axis in (0, 1) if x.ndim == 4 else ():
            if 1 < x.shape[axis] <= MOST_PARTS:
                yield from np.moveaxis(x, axis, 0)


def quarter(x: np.ndarray) -> Iterator[np.ndarray]:
    """A value turned by a quarter in every plane of two features: of both halves, and of neighbours."""
    half = x.shape[-1] // 2
    yield np.concatenate([-x[..., half:], x[..., :half]], -1)
    yield np.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)


def halves(value: np.ndarray) -> Iterator[np.ndarray]:
    """A value that is one twice over along its last axis, in a row or number by number, as that one."""
    if value.ndim and value.shape[-1] % 2 == 0 and value.shape[-1]:
        first, second = np.split(value, 2, axis=-1)
        if np.array_equal(first, second):
            yield first
        if np.array_equal(value[..., ::2], value[..., 1::2]):
            yield value[..., ::2]
