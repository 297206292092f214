"""Which framework a stranger's layer is of, and what traces it."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator
from importlib import import_module
from inspect import unwrap
from types import CodeType, FunctionType, ModuleType
from typing import Any

from attn_ref.engines import MissingBackend
from attn_ref.trace.copies import read_names
from attn_ref.trace.record import inner

#: framework -> what traces it
TRACERS = {
    "numpy": "attn_ref.trace.plain_numpy",
    "torch": "attn_ref_torch.trace",
    "keras": "attn_ref_keras.trace",
    "jax": "attn_ref_jax.trace",
}
#: root of the module in which a class or function stands -> framework
ROOTS = {
    **{name: name for name in TRACERS},
    "tensorflow": "keras", "tf_keras": "keras", "jaxlib": "jax", "flax": "jax", "equinox": "jax", "haiku": "jax",
    "scipy": "numpy",
}  # fmt: skip
#: in this order they are tried where a layer does not tell; what refers to several is seldom of the last
ORDER = ("torch", "keras", "jax", "numpy")


class NotATarget(ValueError):
    """What was given cannot be run as a layer."""


def tracers_of(layer: Any, framework: str = "") -> Iterator[tuple[str, Any]]:
    """(framework, what traces it), the most probable first. NotATarget for what cannot be called."""
    if framework and framework not in TRACERS:
        raise NotATarget(f"framework is one of {', '.join(TRACERS)}; got {framework!r}")
    if not callable(layer):
        raise NotATarget(f"a layer is called; got a {type(layer).__name__}, which cannot be")
    missing = []
    for name in [framework] if framework else frameworks(layer):
        try:
            tracer = import_module(TRACERS[name])
        except ModuleNotFoundError as error:
            missing.append(error.name or name)
            continue
        yield name, tracer
        missing.clear()
    if missing:
        raise MissingBackend(f"to trace it takes {' or '.join(missing)}, which is not installed")


def frameworks(layer: Any) -> list[str]:
    """The frameworks of which a layer may be: that of its class, else those that its code and what it holds refer to.

    Where it refers to none, as a function of operators alone, every one may be.
    """
    while isinstance(layer, functools.partial):
        layer = layer.func
    of = [ROOTS.get(cls.__module__.partition(".")[0]) for cls in type(layer).__mro__]
    if found := "keras" if "keras" in of else next(filter(None, of), None):  # one of Keras is one of its backend's too
        return [found]
    named = References()
    named.look(layer)
    return [name for name in ORDER if name in named.found] or ["numpy", "torch", "jax", "keras"]


class References:
    """The frameworks that a function or object refers to, by itself and through what else it refers to."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.seen: dict[int, Any] = {}

    def look(self, x: Any) -> None:
        """Note what ``x`` is of, and follow it where it is the user's own."""
        if id(x) in self.seen:
            return
        self.seen[id(x)] = x
        if isinstance(x, ModuleType):
            self.note(x.__name__)
            return
        function = unwrap(x) if callable(x) else x
        self.note(getattr(function, "__module__", "") if callable(function) else "")
        self.note(type(x).__module__)
        if isinstance(function, FunctionType):
            if not inner(function.__code__.co_filename):
                self.function(function)
        elif isinstance(x, dict | list | tuple):
            for part in x.values() if isinstance(x, dict) else x:
                self.look(part)
        elif isinstance(x, functools.partial):
            self.look([x.func, x.args, x.keywords])
        elif hasattr(x, "__func__"):
            self.look([x.__func__, x.__self__])
        elif ROOTS.get(type(x).__module__.partition(".")[0]) is None:
            self.thing(x)

    def note(self, module: Any) -> None:
        """Note the framework of a module's name."""
        if found := ROOTS.get(str(module).partition(".")[0]):
            self.found.add(found)

    def function(self, f: FunctionType) -> None:
        """What a function reads."""
        for cell in f.__closure__ or ():
            try:
                self.look(cell.cell_contents)
            except ValueError:  # it is not set yet
                continue
        self.look([f.__defaults__ or (), f.__kwdefaults__ or {}])
        self.look([f.__globals__[name] for name in read_names(f.__code__) if name in f.__globals__])
        for module in imports(f.__code__):
            self.note(module)

    def thing(self, x: Any) -> None:
        """What an object holds, and what the methods of its class read."""
        self.look([*getattr(x, "__dict__", {}).values()])
        for cls in (x if isinstance(x, type) else type(x)).__mro__:
            if not cls.__module__.startswith("builtins"):
                self.look([unwrap(y) for y in vars(cls).values() if callable(y)])


def imports(code: CodeType) -> Iterator[str]:
    """The modules that code imports where it runs."""
    yield from (str(x.argval) for x in dis.get_instructions(code) if x.opname == "IMPORT_NAME")
