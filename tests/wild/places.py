"""Are the taps right at which the corpus says that faults of torch layers show? Told with known weights, by no search.

Every operation of the right layer and of the faulty one is recorded with its line. With the right layer's weights the
taps of the block are known numbers. A tap that the right layer computes, and the faulty one does not, is where the
fault shows at the latest; the last tap before it that both compute is where it does not show yet. The taps that are
told should have one between the two.

``# fault:`` marks the line that is wrong. ``shows`` gives the line at which the first wrong number comes up: the same,
or one after it, where what is wrong is a mask, a size or a step left out.

``python -m tests.wild.places [NAME …]`` prints what does not fit.
"""

from __future__ import annotations

import inspect
import sys
import traceback
import zlib
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import attn_ref as ar
from attn_ref.trace.record import moving
from attn_ref.verbs.tracers import tracers_of

from .corpus import Wild
from .observable import FAR, apart, corpus

#: masked scores are as low as they are, and all of them count as this
LOW = -1e3


class Recorder(TorchDispatchMode):
    """The results of all operations, and at which line of a file they were asked for."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file
        self.seen: list[tuple[int, np.ndarray]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        lines = [frame.lineno or 0 for frame in traceback.extract_stack() if frame.filename == self.file]
        for one in result if isinstance(result, tuple | list) else (result,):
            if isinstance(one, torch.Tensor) and one.dtype == torch.float64:
                self.seen.append((lines[-1] if lines else 0, one.detach().numpy().copy()))
        return result


def recorded(wild: Wild, fault: str, seed: int, inputs: Any) -> tuple[list[tuple[int, np.ndarray]], np.ndarray]:
    layer = wild.build(fault, seed)
    with Recorder(inspect.getfile(wild.cls)) as recorder:
        y = wild(layer, inputs)
    return recorder.seen, y


def tame(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.nan_to_num(x, nan=1e30, neginf=LOW), LOW)


def has(values: list[tuple[int, np.ndarray]], tap: np.ndarray) -> bool:
    """Is the tap, its axes in some order, among the values?"""
    tap = tame(tap)
    wanted = [np.ascontiguousarray(tap.transpose(order)).ravel() for order in permutations(range(tap.ndim))]
    bound = 1e-9 * max(1.0, float(np.abs(tap).max()))
    for _, value in values:
        if value.size == tap.size:
            flat = tame(value).ravel()
            if any(np.abs(flat - one).max() <= bound for one in wanted):
                return True
    return False


def first_new(right: list[tuple[int, np.ndarray]], wrong: list[tuple[int, np.ndarray]]) -> int:
    """The line of the first value that the right layer has not."""
    for line, value in wrong:
        same = [v for _, v in right if v.shape == value.shape]
        if not any(np.array_equal(v, value, equal_nan=True) for v in same):
            return line
    return 0


def shows(wild: Wild, fault: str, seeds: int = 3) -> set[int]:
    """The lines at which the first wrong number comes up: the culprit, or one after it that uses a mask or a size."""
    found = set()
    for seed in range(seeds):
        inputs = wild.draw(np.random.default_rng([zlib.crc32(wild.name.encode()), seed]))
        found.add(first_new(recorded(wild, "", seed, inputs)[0], recorded(wild, fault, seed, inputs)[0]))
    return found - {0}


def traced(wild: Wild, framework: str, fault: str, seed: int, inputs: Any) -> list[tuple[int, np.ndarray]]:
    """The same of a layer of another framework, by what traces it: all values with their lines."""
    layer = wild.build(fault, seed)
    tracer = dict(tracers_of(layer, framework))[framework]
    arguments, named = wild.call(inputs)
    with moving(0):
        found = tracer.trace(tracer.double(layer), arguments, named)
    return [(r.line.number if r.line else 0, r.value) for r in found.records]


def shows_traced(wild: Wild, framework: str, fault: str) -> set[int]:
    """``shows`` for a layer of another framework."""
    inputs = wild.draw(np.random.default_rng([zlib.crc32(wild.name.encode()), 0]))
    right, wrong = (traced(wild, framework, f, 0, inputs) for f in ("", fault))
    return {first_new(right, wrong)} - {0}


def check(wild: Wild, seeds: int = 3) -> list[str]:
    """What does not fit, a line each."""
    found: dict[str, str] = {}
    for seed in range(seeds):
        inputs = wild.draw(np.random.default_rng([zlib.crc32(wild.name.encode()), seed]))
        right, got = recorded(wild, "", seed, inputs)
        layer = wild.build("", seed)
        given = wild.given(layer, inputs)
        with ar.record() as taps:
            wild.block(wild.copy(layer), **given)
        order = [*taps, "output"]
        known = [name for name, (value, _) in taps.items() if has(right, np.asarray(value))]
        for fault, said in wild.faults.items():
            wrong, y = recorded(wild, fault, seed, inputs)
            if apart(y, got) <= FAR:
                continue
            lost = [name for name in known if not has(wrong, np.asarray(taps[name].value))]
            last = order.index(lost[0]) if lost else len(order) - 1
            kept = [order.index(name) for name in known if name not in lost and order.index(name) < last]
            possible = order[max(kept, default=-1) + 1 : last + 1]
            if not set(possible) & set(said.taps.split("|")):
                found.setdefault(fault, f"told {said.taps}, and it is one of {', '.join(possible)}")
    return [f"{name}: {why}" for name, why in found.items()]


def main() -> int:
    wrong = 0
    for wild in corpus():
        if wild.cls.__module__.rpartition(".")[2].startswith("torch") and (not sys.argv[1:] or wild.name in sys.argv):
            lines = check(wild)
            wrong += len(lines)
            print(f"{wild.name}: {len(lines)} of {len(wild.faults)} do not fit", *lines, sep="\n    ", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
