"""Tracing what is written in plain NumPy: every operation with its value and the line that caused it.

A copy runs, with every array that it holds in float64. Arrays are of a class that tells of every operation on them;
the local variables of the user's own files are watched as well, for values that lose the class or change in place.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from types import FrameType
from typing import Any

import numpy as np

from attn_ref.trace.copies import NOTHING, Double
from attn_ref.trace.flow import NONE, Numbers
from attn_ref.trace.record import Line, Trace, inner, leaves, users_line
from attn_ref.trace.store import LIMIT, MOST, Store

SEEDS = count()
#: where channels stand
CHANNELS_LAST = True
#: versions of an array that is filled in a loop; of more the last is kept
VERSIONS = 32


class Recorder:
    """Where operations are told to while a layer runs."""

    def __init__(self, limit: int, home: Collection[str]) -> None:
        self.store, self.home = Store(limit), home
        #: ids of the arrays that own the memory of what operations took
        self.taken: set[int] = set()

    def add(self, operation: str, value: Any, line: Line | None, came: Numbers = NONE) -> None:
        """Record an array. ``came``: the records of what it was computed of."""
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            self.store.add(operation, np.asarray(value, np.float64), line, value.dtype.itemsize < 8, came)
        elif isinstance(value, np.ndarray):
            self.store.carry(lambda: np.asarray(value), came)

    def take(self, given: Any) -> None:
        """Note which arrays an operation takes."""
        for x in leaves(given):
            if isinstance(x, np.ndarray):
                self.taken.add(owner(x))


_recorder: Recorder | None = None


def owner(x: np.ndarray) -> int:
    """The id of the array that has the memory of a view."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return id(x)


class Seen(np.ndarray):
    """An array that tells of what is done with it."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        into = {} if out is None else {"out": plain(out)}
        came = sources((inputs, options))  # before it may write to them
        result = getattr(ufunc, method)(*plain(inputs), **into, **plain(options))
        told(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}", result, (inputs, options), came)
        if out is None:
            return seen(result)
        return out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        result = function(*plain(args), **plain(options))
        told(function.__name__, result, (args, options))
        return seen(result)

    def __getitem__(self, at: Any) -> Any:
        result = self.view(np.ndarray)[plain(at)]
        told("getitem", result, self)
        return seen(result)


def method(name: str) -> Callable[..., Any]:
    """The method of an array, told."""
    function = getattr(np.ndarray, name)

    def call(self: Seen, *args: Any, **options: Any) -> Any:
        result = function(self.view(np.ndarray), *plain(args), **plain(options))
        told(name, result, (self, args, options))
        return seen(result)

    return call


METHODS = (
    "astype", "clip", "compress", "copy", "cumprod", "cumsum", "diagonal", "dot", "flatten", "max", "mean",
    "min", "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std", "sum", "swapaxes", "take", "trace",
    "transpose", "var",
)  # fmt: skip
for _name in METHODS:
    setattr(Seen, _name, method(_name))


def told(operation: str, result: Any, given: Any, came: Numbers | None = None) -> None:
    """Record what an operation gives, if anything listens. ``came``: the records of what it took, where known."""
    if _recorder is None:
        return
    _recorder.take(given)
    line = users_line(sys._getframe(2), _recorder.home)
    came = sources(given) if came is None else came
    for x in leaves(result):
        _recorder.add(operation, x, line, came)


def sources(given: Any) -> Numbers:
    """The records that what an operation takes came of, if anything listens."""
    if _recorder is None:
        return NONE
    return _recorder.store.came(lambda: [np.asarray(x) for x in leaves(given) if isinstance(x, np.ndarray)])


def plain(x: Any) -> Any:
    """Arrays as NumPy's own."""
    return mapped(x, lambda y: y.view(np.ndarray) if isinstance(y, Seen) else y)


def seen(x: Any) -> Any:
    """Arrays as those that tell."""
    return mapped(x, lambda y: y.view(Seen) if isinstance(y, np.ndarray) and y.dtype.kind == "f" else y)


def mapped(x: Any, function: Callable[[Any], Any]) -> Any:
    """Nested tuples, lists and dicts with a function of each part."""
    if isinstance(x, tuple):
        parts = [mapped(y, function) for y in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    if isinstance(x, list):
        return [mapped(y, function) for y in x]
    if type(x) is dict:
        return {key: mapped(y, function) for key, y in x.items()}
    return function(x)


class Watched:
    """The local variables of one call of a function of the user's."""

    def __init__(self, recorder: Recorder, frame: FrameType) -> None:
        self.recorder, self.line = recorder, frame.f_lineno
        #: id -> (array, hash of its elements, how many versions of it were recorded)
        self.known: dict[int, tuple[np.ndarray, int, int]] = {}
        #: arrays that changed and are not recorded yet, and the line that did it
        self.changed: dict[int, int] = {}
        #: ids of arrays that changed -> the records that what they held before came of
        self.earlier: dict[int, Numbers] = {}

    def __call__(self, frame: FrameType, event: str, result: Any) -> Any:
        """What Python calls before each line and at the end."""
        ends = event == "return"
        if event != "line" and not ends:
            return self
        for x in arrays([*frame.f_locals.values(), *([result] if ends else [])]):
            marked = hash(x.tobytes())
            _, before, versions = self.known.get(id(x), (x, None, 0))
            if before is None:
                self.record(x, self.line, frame)
            elif before != marked:
                self.changed[id(x)] = self.line
                self.note_earlier(x, before)
            self.known[id(x)] = x, marked, versions
        for number, line in [*self.changed.items()]:
            # one that is filled in a loop is recorded when the loop is left, as far as that can be told
            x, marked, versions = self.known[number]
            if ends or (frame.f_lineno > line and versions < VERSIONS):
                self.record(x, line, frame)
                self.known[number] = x, marked, versions + 1
                del self.changed[number]
        self.line = frame.f_lineno
        return self

    def note_earlier(self, x: np.ndarray, before: int) -> None:
        """Note what an array that changed came of, by the hash of the elements that it had."""
        if flow := self.recorder.store.flow:
            self.earlier[id(x)] = self.earlier.get(id(x), NONE) | flow.sources.get((x.shape, before), NONE)

    def record(self, x: np.ndarray, line: int, frame: FrameType) -> None:
        """Record it, if no operation told of this very value. One number all over is an array made to be filled."""
        if not np.all(x == x.flat[0]) and not self.recorder.store.has(np.asarray(x, np.float64)):
            flow = self.recorder.store.flow
            came = flow.untaken() | self.earlier.get(id(x), NONE) if flow else NONE
            self.recorder.add("assigned", x, Line(frame.f_code.co_filename, line, frame.f_code.co_name), came)


def arrays(values: Sequence[Any]) -> Iterator[np.ndarray]:
    """The arrays of floats among values, and in lists, tuples and dicts of them."""
    for x in values:
        parts = x if isinstance(x, list | tuple) else x.values() if isinstance(x, dict) else (x,)
        yield from (y for y in parts if isinstance(y, np.ndarray) and y.dtype.kind == "f" and 0 < y.size <= MOST)


def double(layer: Any) -> Double:
    """A copy with every array that it holds in float64."""
    return Double(layer, converted)


def converted(x: Any) -> Any:
    """An array of floats, or a number of NumPy's, in float64; NOTHING for anything else."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return lift(x)
    return np.float64(x) if isinstance(x, np.floating) else NOTHING


def home(layer: Any) -> set[str]:
    """The file in which a layer's call stands."""
    code = getattr(layer, "__code__", None) or getattr(type(layer).__call__, "__code__", None)
    return {code.co_filename} if code else set()


def trace(layer: Double, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = LIMIT) -> Trace:
    """Run ``layer``, which ``double`` gave, on arrays and record everything."""
    own = {name: x for name, x in layer.parameters.items() if isinstance(x, Seen)}
    given = [lift(x) for x in args]
    named = {name: lift(x) for name, x in kwargs.items()}
    recorder = Recorder(limit, home(layer.call))
    for x in arrays([*given, *named.values(), *own.values()]):
        recorder.store.skip(x)
    recorder.store.start(np.array(x) for x in (*given, *named.values()) if isinstance(x, np.ndarray))
    output = run(layer, given, named, recorder)
    unused = [name for name, x in own.items() if owner(x) not in recorder.taken]
    parameters = {name: np.array(x) for name, x in own.items()}
    found = recorder.store.trace(output, never(layer, args, kwargs, own, unused, output), parameters)
    if any(
        isinstance(x, np.ndarray) and not np.array_equal(x, lift(y), True) for x, y in zip(given, args, strict=True)
    ):
        found.notes.append("it changes its input in place")
    return found


def never(
    layer: Double, args: Sequence[Any], kwargs: Mapping[str, Any], own: Mapping[str, np.ndarray], names: list[str],
    output: Any,
) -> list[str]:  # fmt: skip
    """Of the parameters that no operation was seen to take, those that may be anything: with NaN the output stays."""
    if not names:
        return []
    before = {name: np.array(own[name]) for name in names}
    try:
        for name in names:
            own[name].view(np.ndarray)[...] = np.nan
        again = run(layer, [lift(x) for x in args], {name: lift(x) for name, x in kwargs.items()}, None)
    except Exception:  # it looks at them
        return []
    finally:
        for name in names:
            own[name].view(np.ndarray)[...] = before[name]
    alike = zip(outputs(output), outputs(again), strict=True)
    return names if all(np.array_equal(a, b, equal_nan=True) for a, b in alike) else []


def run(layer: Double, args: Sequence[Any], kwargs: Mapping[str, Any], recorder: Recorder | None) -> Any:
    """What the layer gives; the random state, the error state and what traces the process are as before."""
    global _recorder

    def watch(frame: FrameType, event: str, result: Any) -> Any:
        if event != "call" or recorder is None:
            return None
        file = frame.f_code.co_filename
        return Watched(recorder, frame) if not inner(file) or file in recorder.home else None

    with ExitStack() as stack:
        stack.enter_context(np.errstate(all="ignore"))
        stack.callback(np.random.set_state, np.random.get_state())
        stack.callback(random.setstate, random.getstate())
        seed = next(SEEDS)  # what draws numbers draws others each time
        np.random.seed(seed)
        random.seed(seed)
        stack.callback(sys.settrace, sys.gettrace())
        stack.callback(setattr, sys.modules[__name__], "_recorder", _recorder)
        _recorder = recorder
        if recorder is not None:
            sys.settrace(watch)
        return layer(*args, **kwargs)


def lift(x: Any) -> Any:
    """A copy of an array, reals in float64; anything else stays."""
    if not isinstance(x, np.ndarray):
        return x
    return np.array(x, np.float64).view(Seen) if x.dtype.kind == "f" else np.array(x)


def outputs(result: Any) -> list[np.ndarray]:
    """The real arrays in what came out, the first of them first."""
    return [np.array(x, np.float64) for x in leaves(result) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
