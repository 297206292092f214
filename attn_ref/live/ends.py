"""A live model that runs: on a copy, with numbers that are put into it, each value recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from attn_ref.engines import MissingBackend
from attn_ref.trace.flow import KNOWN, following
from attn_ref.trace.meet import Side
from attn_ref.trace.record import Trace
from attn_ref.verbs.tracers import TRACERS, NotATarget, frameworks
from attn_ref.weights import uniform

#: framework -> what knows live models of it
LIVE = {"torch": "attn_ref_torch.live", "keras": "attn_ref_keras.live"}
Arrays = Mapping[str, np.ndarray]
#: positional and named arguments
Arguments = tuple[Sequence[Any], Mapping[str, Any]]


def nothing() -> None:
    """Nothing is to be undone."""


@dataclass
class Run:
    """What a model computed with certain numbers."""

    trace: Trace
    outputs: list[np.ndarray]
    #: its parameters, in the order in which they are known in the trace
    names: list[str]
    layers: Mapping[str, str]

    @cached_property
    def side(self) -> Side:
        """Its values, sorted."""
        return Side(self.trace, self.outputs)

    @cached_property
    def parents(self) -> dict[float, frozenset[float]]:
        """A record -> those of which it came."""
        return self.side.parents

    @cached_property
    def children(self) -> dict[float, list[float]]:
        """A record or parameter -> those that came of it, in order."""
        found: dict[float, list[float]] = {}
        for number in sorted(self.parents):
            for one in self.parents[number]:
                found.setdefault(one, []).append(number)
        return found

    def name(self, number: float) -> str | None:
        """The parameter of that number; None where it is none."""
        return self.names[int(KNOWN - number)] if number <= KNOWN else None

    def layer(self, number: float) -> str:
        """The layer inside that computed a record."""
        path = self.trace.layers.get(number, "") or self.trace.layers.get(int(number), "")
        return "/".join(self.layers.get(part, part) for part in path.split("/"))


@dataclass
class End:
    """One of the two models."""

    role: str
    model: Any
    framework: str
    live: Any
    tracer: Any
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    twin: Any = None
    call: Arguments = ((), {})
    said: str = ""
    undo: Callable[[], None] = nothing

    @property
    def own(self) -> bool:
        """Does the model itself run, since there is no copy?"""
        return self.twin is self.model

    def called(self, call: Arguments, said: str) -> None:
        """Make a copy that is called so. Raises whatever the model raises."""
        self.restore()
        self.twin, self.undo = self.live.twin(self.model, *call)
        self.call, self.said = call, said
        self.tracer.trace(self.twin, *call, 0)

    def run(self, numbers: Arrays) -> Run:
        """What it computes with these numbers."""
        self.live.put(self.twin, self.model, numbers)
        held = self.live.arrays(self.model) if self.own else numbers
        with following([held[name] for name in numbers]), np.errstate(all="ignore"):
            trace = self.tracer.trace(self.twin, *self.call)
        outputs = self.tracer.outputs(trace.output)
        if not outputs:
            raise NotATarget(f"the {self.role} gives no tensor of real numbers")
        return Run(trace, outputs, list(numbers), self.live.named(self.twin, self.model))

    def outputs(self, call: Arguments) -> list[np.ndarray]:
        """What comes out of it for other inputs, with the numbers that it has now."""
        with np.errstate(all="ignore"):
            made: list[np.ndarray] = self.tracer.outputs(self.tracer.trace(self.twin, *call, 0).output)
        return made

    def restore(self) -> None:
        """Where the model itself ran, it is as before."""
        self.undo()
        self.undo = nothing


def end(role: str, model: Any) -> End:
    """A model that was given. NotATarget for what is none."""
    name = frameworks(model)[0] if callable(model) else ""
    if name not in LIVE:
        raise NotATarget(f"the {role} should be a model of torch or Keras; got a {type(model).__name__}")
    try:
        live = import_module(LIVE[name])
    except ModuleNotFoundError as error:
        raise MissingBackend(f"to run the {role} it takes {error.name}, which is not installed") from error
    if not live.is_model(model):
        raise NotATarget(f"the {role} should be a module of torch or a layer of Keras; got a {type(model).__name__}")
    return End(role, model, name, live, import_module(TRACERS[name]))


def witness(numbers: Arrays, seed: str) -> dict[str, np.ndarray]:
    """Numbers like these, of which no two parameters have the same: positive ones stay so."""
    found = {}
    for name, x in numbers.items():
        noise = uniform(x.shape, seed, name)
        if x.size and (x > 0).all():
            found[name] = x * (1 + 0.4 * noise)
        elif x.size and np.all(x == x.flat[0]):
            found[name] = x + 0.4 * noise
        else:
            found[name] = x + 0.3 * (float(np.std(x)) if x.size else 1.0) * noise
    return found


def arguments(example: Any) -> Arguments:
    """An example as arguments: a tuple or list in turn, a dict by name, anything else alone."""
    if isinstance(example, Mapping):
        return (), {str(name): array(x) for name, x in example.items()}
    if isinstance(example, tuple | list):
        return tuple(map(array, example)), {}
    return (array(example),), {}


def array(x: Any) -> Any:
    """A tensor of any framework as an array; anything else as it is."""
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    elif not isinstance(x, np.ndarray) and hasattr(x, "__array__"):
        x = np.asarray(x)
    return x


def forms(call: Arguments) -> Iterator[tuple[str, Arguments]]:
    """(in words, arguments): the ways to give several inputs."""
    args, kwargs = call
    yield "", call
    if kwargs:
        yield "as one dict", ((dict(kwargs),), {})
        yield "in turn", (tuple(kwargs.values()), {})
    if len(args) + len(kwargs) > 1:
        yield "as one list", ([[*args, *kwargs.values()]], {})


def layouts(call: Arguments, last: bool, from_last: bool) -> Iterator[tuple[str, Arguments]]:
    """(in words, arguments): the layouts in which a model may take what another takes, the usual first."""
    rank = max((x.ndim for x in every(call) if is_real(x)), default=0)
    plain: tuple[str, Callable[[np.ndarray], np.ndarray]] = ("", lambda x: x)
    to_last = ("channels last", lambda x: np.moveaxis(x, 1, -1))
    to_first = ("channels first", lambda x: np.moveaxis(x, -1, 1))
    swapped = ("batch second", lambda x: np.swapaxes(x, 0, 1))
    ways = [plain]
    if rank > 3:
        turned = [to_last, to_first] if not from_last else [to_first, to_last]
        ways = [turned[0], plain, turned[1]] if last != from_last else [plain, *turned]
    elif rank == 3:
        ways = [plain, *([to_first, to_last] if from_last else [to_last, to_first]), swapped]
    for said, turn in ways:
        yield said, changed(call, lambda x, turn=turn: turn(x) if is_real(x) and x.ndim == rank else x)  # type: ignore[misc]


def is_real(x: Any) -> bool:
    """Is it an array of real numbers?"""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def every(call: Arguments) -> list[Any]:
    """All that is given."""
    return [*call[0], *call[1].values()]


def changed(call: Arguments, change: Callable[[Any], Any]) -> Arguments:
    """A call with each argument changed, in a list or dict too."""

    def one(x: Any) -> Any:
        if isinstance(x, dict):
            return {name: one(y) for name, y in x.items()}
        if isinstance(x, list):
            return [one(y) for y in x]
        return change(x)

    return tuple(map(one, call[0])), {name: one(x) for name, x in call[1].items()}
