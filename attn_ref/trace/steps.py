"""Is the value at a tap that of a step done in another way, of those that are no row of the catalogue?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from attn_ref import ops
from attn_ref.block import Block
from attn_ref.trace.came import above
from attn_ref.trace.faults import Fault
from attn_ref.trace.match import ratio, same
from attn_ref.trace.options import run
from attn_ref.trace.reason import Reason
from attn_ref.trace.record import Record
from attn_ref.trace.search import Search
from attn_ref.trace.wiring import Solver

#: the reason that a step takes another value than it should
OF_ANOTHER = "another-input"


def changed_values(search: Search, fault: Fault) -> Iterator[tuple[Reason, np.ndarray | None]]:
    """What a step gives that is done in another way."""
    tap, ours, theirs = fault.tap.rpartition(".")[2], fault.ours, fault.theirs
    assert theirs is not None
    earlier = before(fault)
    inputs = {name: np.asarray(x) for name, x in search.inputs.items() if np.asarray(x).dtype.kind == "f"}
    yield from other_inputs(search, fault)
    if (factor := ratio(theirs, ours)) is not None:
        yield scaled(tap, factor, search.block), theirs
    if scrambled(theirs, ours):
        said = "the numbers are right and lie in another order of axes"
        fix = "move the heads back beside their features before the reshape: y.transpose(1, 2).reshape(b, t, -1)"
        if tap != "merged":
            fix = "check the order of axes in the reshape or permutation of this line"
        yield Reason("permuted", said, fix), theirs
    if tap in ("scores", "biased", "masked") and np.isinf(ours).any() and not np.isinf(theirs).any():
        said = "nothing is masked"
        fix = "put −∞ where attention is not allowed"
        yield Reason("nothing-masked", said, fix), last_of(earlier, "biased", "scores")
    for name, value in reversed([*inputs.items(), *earlier.items()]):
        if value.shape == ours.shape:
            yield Reason("left-out", f"a step is left out: it is still {name}", f"compute {fault.tap} of {name}"), value
    for name, value in [*inputs.items(), *earlier.items()]:
        if value.shape == ours.shape:
            said = f"{name} is not added"
            yield Reason("not-added", said, f"add {name}, the residual"), ours - value
            yield Reason("added-twice", f"{name} is added", f"do not add {name} here"), ours + value
    for name, value in reversed([*earlier.items()]):
        if value.shape == ours.shape:
            for title, function in {**ops.ACTIVATIONS, **ops.GATED, "tanh": ops.tanh}.items():
                said = f"the activation is {title} of {name}"
                with np.errstate(all="ignore"):
                    yield Reason("activation", said, "take the block's activation"), np.asarray(function(value))


def before(fault: Fault) -> dict[str, np.ndarray]:
    """The reference's taps before the place."""
    values = dict(fault.attempt.values)
    names = list(values)
    reached = names.index(fault.tap) if fault.tap in names else len(names)
    return {name: np.asarray(values[name].value) for name in names[:reached]}


def locate(search: Search, fault: Fault) -> None:
    """Move the place of a factor to the line where it came in."""
    if fault.theirs is not None and (factor := ratio(fault.theirs, fault.ours)) is not None:
        fault.record = origin(search, before(fault), factor, fault.theirs.shape) or fault.record


def misread(search: Search, fault: Fault) -> Reason | None:
    """The reason where the layer has nothing of the tap's size: that it computes the step of another input."""
    if f"{fault.tap}.kernel" in search.shapes:
        return projected(search, fault)
    if fault.theirs is not None:
        return None
    for found, value in other_inputs(search, fault):
        if value is not None and np.isfinite(value).all() and search.finder.find(value):
            return found
    return None


def projected(search: Search, fault: Fault) -> Reason | None:
    """The reason where no value is the projection of what it should be: that it is one of an earlier value."""
    *_, width = search.shapes[f"{fault.tap}.kernel"]
    found = fault.attempt
    solver = Solver(search.shapes, search.finder, lambda name, options: options[0], {}, search.trace.parameters, [])
    inputs = {name: np.asarray(x) for name, x in search.inputs.items() if np.asarray(x).dtype.kind == "f"}
    values = {name: np.asarray(x.value) for name, x in found.values.items() if found.taps.get(name) is not None}
    # what leads to a right value is another step's
    right = above(search.trace.parents, {r.number for r in found.taps.values() if r is not None})
    for name, value in reversed([*inputs.items(), *values.items()]):
        if value.ndim < 2 or value.shape[-1] != search.shapes[f"{fault.tap}.kernel"][0] or not np.isfinite(value).all():
            continue
        for record, kernel, _ in solver.affine_options(value, width, f"{fault.tap}.bias" in search.shapes):
            if record.number not in right and held(kernel, search.trace.parameters):
                fault.record = record
                return Reason(OF_ANOTHER, f"it is computed of {name}", f"compute {fault.tap} of what comes before it")
    return None


def held(kernel: np.ndarray, parameters: Mapping[str, np.ndarray]) -> bool:
    """Are a kernel's numbers all those of one parameter?"""
    top = float(np.max(np.abs(kernel)))
    for x in (np.sort(p.ravel()) for p in parameters.values() if p.size >= kernel.size):
        at = np.clip(np.searchsorted(x, kernel), 1, len(x) - 1)
        if np.minimum(np.abs(x[at - 1] - kernel), np.abs(x[at] - kernel)).max() <= 1e-7 * top:
            return True
    return False


def other_inputs(search: Search, fault: Fault) -> Iterator[tuple[Reason, np.ndarray | None]]:
    """The tap, computed of another input."""
    inputs = {name: np.asarray(x) for name, x in search.inputs.items() if np.asarray(x).dtype.kind == "f"}
    for name, value in inputs.items():
        for other, instead in inputs.items():
            if other != name and value.ndim == instead.ndim:
                said, fix = f"it is computed of {other}, where {name} is meant", f"give {name} to this step"
                yield Reason(OF_ANOTHER, said, fix), with_input(search, fault, name, instead)


def with_input(search: Search, fault: Fault, name: str, value: np.ndarray) -> np.ndarray | None:
    """The tap if another input were given for one."""
    try:
        taps = run(search.block, fault.attempt.weights, {**search.inputs, name: value}, {})
    except (ValueError, IndexError):
        return None
    return np.asarray(taps[fault.tap].value) if fault.tap in taps else None


def origin(search: Search, earlier: Mapping[str, np.ndarray], factor: float, shape: tuple[int, ...]) -> Record | None:
    """The first value that is an earlier tap times the factor: there it came in."""
    for value in reversed([*earlier.values()]):
        if value.shape == shape and (found := search.finder.find(factor * value)):
            return found[0]
    return None


def scaled(tap: str, factor: float, block: Block) -> Reason:
    """In words, with what the factor may be."""
    sizes = {name: x for name, x in block.fields().items() if type(x) is int and x > 1}
    sizes |= {"head width": int(block.d)} if hasattr(block, "d") else {}
    known = {f"√{name}": n**0.5 for name, n in sizes.items()} | {f"1/√{name}": n**-0.5 for name, n in sizes.items()}
    known |= {f"√({a}/{b})": (m / n) ** 0.5 for a, m in sizes.items() for b, n in sizes.items() if m != n}
    known |= {name: float(n) for name, n in sizes.items()} | {f"1/{name}": 1 / n for name, n in sizes.items()}
    of_scores = tap in ("scores", "biased", "masked")
    means = next((f", which is {name}" for name, x in known.items() if of_scores and abs(x - factor) < 1e-9 * x), "")
    said = f"it is {factor:.6g} times what it should be{means}"
    if of_scores:
        width = f"√{block.d} = {block.d**0.5:.4g}" if hasattr(block, "d") else "√(head width)"
        return Reason("scale", said, f"divide the products of query and key by {width}, once")
    return Reason("factor", said, "take the factor out")


def scrambled(a: np.ndarray, b: np.ndarray) -> bool:
    """Have they the same numbers?"""
    return bool(np.isfinite(a).all() and np.isfinite(b).all() and same(np.sort(a.ravel()), np.sort(b.ravel())))


def last_of(values: Mapping[str, np.ndarray], *endings: str) -> np.ndarray:
    """The last of the values whose name ends so."""
    return next(x for name, x in reversed([*values.items()]) if name.rpartition(".")[2] in endings)
