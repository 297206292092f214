"""Taps: named intermediate values that one may observe, add to, or replace.

``x = tap("scores", x, "b h t s")`` is the identity unless a probe is listening. Blocks and mirrors call the same
function, so a value has one name and one set of axis labels everywhere, whatever the layout of the array.

A tap's full name is the path of sub-blocks that lead to it: ``layers.0.attention.scores``. The path is kept by
``scope``; blocks enter it when they call a sub-block, and backends enter it for their layers while they probe.

The state is one plain module-level variable, because compilers that trace Python can follow that and not a
``ContextVar``. So one probe listens at a time in a process, and probing is not meant for threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from attn_ref.names import Named, hints, listed

T = TypeVar("T")
P = TypeVar("P", bound="Probe | None")


class Tapped(NamedTuple):
    """A value seen at a tap, and the labels of its axes, in order."""

    value: Any
    labels: str


class Probe:
    """Listens at every tap: adds, then replaces, then observes.

    ``add`` and ``replace`` map a tap's full name to a ``Tapped`` array or to a function of the value;
    ``lift(tapped, labels, like)`` turns such an array into one of the framework's, in the layout of the tap.
    """

    def __init__(
        self,
        *,
        add: Mapping[str, Tapped] | None = None,
        replace: Mapping[str, Tapped | Callable[[Any], Any]] | None = None,
        lift: Callable[[Tapped, str, Any], Any] | None = None,
        seen: dict[str, Tapped] | None = None,
    ) -> None:
        self.seen = {} if seen is None else seen  # a plain dict, which compilers that trace this can follow
        self.add = dict(add or {})
        self.replace = dict(replace or {})
        self.lift = lift or lift_numpy

    def __call__(self, name: str, value: Any, labels: str) -> Any:
        name = ".".join([*_path, name])
        if name in self.seen:
            raise ValueError(f"tap {name!r} was passed twice; put a sub-block that is called twice in a scope(...)")
        if name in self.add:
            value = value + self.fitting(name, self.lift(self.add[name], labels, value), value)
        if name in self.replace:
            new = self.replace[name]
            new = self.lift(new, labels, value) if isinstance(new, Tapped) else new(value)
            value = self.fitting(name, new, value)
        self.seen[name] = Tapped(value, labels)
        return value

    @staticmethod
    def fitting(name: str, new: Any, value: Any) -> Any:
        """``new``, if it has the shape of the tap's value: nothing is broadcast in silence."""
        got, wanted = (tuple(getattr(x, "shape", ())) for x in (new, value))
        if got != wanted:
            raise ValueError(f"tap {name!r} has shape {wanted}; got {got}")
        return new

    def unused(self) -> list[str]:
        """Names that were to be added to or replaced, and that no tap had."""
        return [name for name in [*self.add, *self.replace] if name not in self.seen]


class Zeros(Probe):
    """A probe that, last of all, adds what ``zero(name, value)`` gives: zeros to which gradients are asked for."""

    def __init__(self, zero: Callable[[str, Any], Any], **listening: Any) -> None:
        super().__init__(**listening)
        self.zero = zero

    def __call__(self, name: str, value: Any, labels: str) -> Any:
        value = super().__call__(name, value, labels)
        return value + self.zero(".".join([*_path, name]), value)


_probe: Probe | None = None
_path: list[str] = []


def tap(name: str, value: T, labels: str) -> T:
    """Name a value: returns it unchanged unless a probe adds to or replaces it. ``labels``: one a axis."""
    return value if _probe is None else _probe(name, value, labels)


def full_name(name: str) -> str:
    """A tap's name with the path of sub-blocks that leads to it."""
    return ".".join([*_path, name])


def probing() -> bool:
    """Is anyone listening? Mirrors ask, to leave fused calls that would hide their intermediate values."""
    return _probe is not None


def differentiating() -> bool:
    """Are gradients asked for, to what is added at taps?"""
    return isinstance(_probe, Zeros)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Prefix the names of the taps inside with ``name``."""
    _path.append(name)
    try:
        yield
    finally:
        _path.pop()


def scoped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` inside ``scope(name)``; one that was scoped before is not scoped twice."""
    plain = getattr(call, "unscoped", call)

    def inside(*args: Any, **kwargs: Any) -> Any:
        with scope(name):
            return plain(*args, **kwargs)

    inside.unscoped = plain  # type: ignore[attr-defined]
    return inside


@contextmanager
def exchanged(attribute: str, calls: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """While it lasts, each object has its call as its own ``attribute``; afterwards it has again what it had."""
    before = {owner: vars(owner).get(attribute) for owner in calls}
    for owner, call in calls.items():
        vars(owner)[attribute] = call
    try:
        yield
    finally:
        for owner, call in before.items():
            if call is None:
                del vars(owner)[attribute]
            else:
                vars(owner)[attribute] = call


@contextmanager
def silence() -> Iterator[None]:
    """Nobody listens inside, whoever does outside."""
    with probe(None):
        yield


@contextmanager
def probe(listener: P) -> Iterator[P]:
    """Let ``listener`` hear every tap inside, until the block ends; the listener before it resumes then."""
    global _probe
    before, path = _probe, _path[:]
    _probe, _path[:] = listener, []
    try:
        yield listener
    finally:
        _probe, _path[:] = before, path


@contextmanager
def record() -> Iterator[dict[str, Tapped]]:
    """Observe: ``with record() as taps: block(w, x)`` fills ``taps``, in order of computation."""
    with probe(Probe(seen=Named("tap"))) as listener:
        yield listener.seen


@contextmanager
def add(values: Mapping[str, Any]) -> Iterator[dict[str, Tapped]]:
    """Add to taps by full name; values are arrays laid out as the tap is. Observes as well."""
    with probe(Probe(add={k: _tapped(v) for k, v in values.items()}, seen=Named("tap"))) as listener:
        yield listener.seen
    _complain(listener)


@contextmanager
def replace(values: Mapping[str, Any]) -> Iterator[dict[str, Tapped]]:
    """Replace taps by full name with an array or with a function of the value. Observes as well."""
    new = {k: v if callable(v) else _tapped(v) for k, v in values.items()}
    with probe(Probe(replace=new, seen=Named("tap"))) as listener:
        yield listener.seen
    _complain(listener)


def _tapped(value: Any) -> Tapped:
    return value if isinstance(value, Tapped) else Tapped(np.asarray(value), "")


def _complain(listener: Probe) -> None:
    if unused := listener.unused():
        raise ValueError(no_such_tap(unused, listener.seen))


def no_such_tap(unused: Sequence[str], seen: Iterable[str]) -> str:
    """What is said to names that were to be added to or replaced, and that no tap had."""
    return f"no such tap: {', '.join(unused)}; {hints(unused, seen)}the taps are {listed(seen)}"


def order_of(labels: str, target: str) -> list[int] | None:
    """How to transpose axes called ``labels`` into the order of ``target``; None where nothing is to be done."""
    source, wanted = labels.split(), target.split()
    if not source or source == wanted:
        return None
    if sorted(source) != sorted(wanted):
        raise ValueError(f"axes {labels!r} cannot be put in the order {target!r}: they are not the same labels")
    return [source.index(label) for label in wanted]


def transpose_to(value: Any, labels: str, target: str) -> Any:
    """A NumPy array whose axes are ``labels``, with its axes in the order of ``target`` (the same labels)."""
    order = order_of(labels, target)
    return value if order is None else np.transpose(value, order)


def is_masked(tap: str) -> bool:
    """Is this the tap of scores after a mask? There alone −∞ may stand, and nothing is rounded: a mask chooses."""
    return tap.rpartition(".")[2] == "masked"


def is_keep(tap: str) -> bool:
    """Is this the tap of a dropout's keep?"""
    return tap.rpartition(".")[2].startswith("keep")


def is_statistic(tap: str) -> bool:
    """Is this the tap of what a batch norm's running mean becomes? It is there in training alone."""
    return tap.rpartition(".")[2] == "running_mean"


def apart(got: Any, want: Any) -> Any:
    """got − want of NumPy arrays of one shape; 0 where both are the same infinity, ±∞ where one of them is finite."""
    if np.isfinite(want).all():  # choosing elements takes several times as long
        return np.subtract(got, want)
    return np.subtract(got, want, out=np.zeros(np.shape(want)), where=np.not_equal(got, want))


def lift_numpy(tapped: Tapped, labels: str, like: Any) -> Any:
    """A tap's array for the reference: its axes put in the tap's order."""
    return transpose_to(tapped.value, tapped.labels, labels)
