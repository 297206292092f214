"""A copy of a stranger's function or object with every array that it holds converted; the original stays as it is."""

from __future__ import annotations

import copy
import dis
import functools
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from attn_ref.trace.record import INNER, inner

#: what a conversion gives for what is no array
NOTHING = object()


class Copier:
    """Copies; ``convert(x)`` gives what stands in the place of an array, and NOTHING for anything else."""

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.convert = convert
        #: path -> what stands in the place of the array there
        self.found: dict[str, Any] = {}
        #: id -> (the original, which keeps the id in use, and its copy)
        self.memo: dict[int, tuple[Any, Any]] = {}

    def __call__(self, x: Any, path: str = "") -> Any:
        """A copy; what is held in two places is one in the copy as well."""
        if id(x) in self.memo:
            return self.memo[id(x)][1]
        new = self.convert(x)
        if new is not NOTHING:
            self.found[path] = new
            return self.keep(x, new)
        if isinstance(x, type | ModuleType | BuiltinFunctionType | str | bytes | int | float | complex | None):
            return x
        if isinstance(x, dict | list | tuple | set):
            return self.container(x, path)
        if isinstance(x, FunctionType):
            return x if inner(x.__code__.co_filename) else self.function(x, path)
        if isinstance(x, MethodType):
            return MethodType(self(x.__func__, path), self(x.__self__, path))
        if isinstance(x, functools.partial):
            return functools.partial(
                self(x.func, path), *self(x.args, path), **{k: self(v, within(path, k)) for k, v in x.keywords.items()}
            )
        if callable(x) and type(x).__module__.partition(".")[0] in INNER:
            wrapped = getattr(x, "__wrapped__", None)  # what was compiled, if it was
            return self.keep(x, x if wrapped is None or (new := self(wrapped, path)) is wrapped else new)
        return self.thing(x, path)

    def keep(self, x: Any, new: Any) -> Any:
        """Remember the copy."""
        self.memo[id(x)] = x, new
        return new

    def container(self, x: Any, path: str) -> Any:
        """A copy of a dict, list, tuple or set."""
        if isinstance(x, dict):
            made = self.keep(x, copy.copy(x))
            for key, value in x.items():
                made[key] = self(value, within(path, key))
            return made
        if isinstance(x, list):
            made = self.keep(x, copy.copy(x))
            made[:] = [self(value, within(path, n)) for n, value in enumerate(x)]
            return made
        if isinstance(x, set):
            return self.keep(x, copy.copy(x))
        parts = [self(value, within(path, n)) for n, value in enumerate(x)]
        return self.keep(x, type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts))

    def function(self, f: FunctionType, path: str) -> Any:
        """The function with copies in its closure, its defaults and the globals that it reads; itself without any."""
        cells = tuple(CellType() for _ in f.__closure__ or ())
        space = dict(f.__globals__)
        space = self.memo.setdefault(id(f.__globals__), (f.__globals__, space))[1]
        made = FunctionType(f.__code__, space, f.__name__, None, cells)
        self.keep(f, made)
        changed = False
        for name, cell, before in zip(f.__code__.co_freevars, cells, f.__closure__ or (), strict=True):
            try:
                value = before.cell_contents
            except ValueError:  # it is not set yet
                continue
            cell.cell_contents = self(value, within(path, name))
            changed |= cell.cell_contents is not value
        names = f.__code__.co_varnames[: f.__code__.co_argcount]
        defaults = f.__defaults__ or ()
        last = names[len(names) - len(defaults) :]
        given = tuple(self(x, within(path, name)) for name, x in zip(last, defaults, strict=True))
        named = {name: self(x, within(path, name)) for name, x in (f.__kwdefaults__ or {}).items()}
        changed |= any(a is not b for a, b in zip(given, defaults, strict=True))
        changed |= any(named[name] is not x for name, x in (f.__kwdefaults__ or {}).items())
        for name in read_names(f.__code__):
            if name in f.__globals__:
                value = f.__globals__[name]
                space[name] = self(value, within(path, name))
                changed |= space[name] is not value
        if not changed:
            return self.keep(f, f)
        made.__defaults__, made.__kwdefaults__ = given or None, named or None
        made.__dict__.update(f.__dict__)
        made.__module__, made.__qualname__, made.__doc__ = f.__module__, f.__qualname__, f.__doc__
        return made

    def thing(self, x: Any, path: str) -> Any:
        """A copy of any other object: of what it holds where that can be seen, else a deep one, else itself."""
        names = [*getattr(x, "__dict__", ()), *slots(type(x))]
        try:
            made = self.keep(x, copy.copy(x) if names else copy.deepcopy(x))
        except Exception:  # it lets nobody copy it, as a lock does
            return self.keep(x, x)
        for name in names if made is not x else ():
            if hasattr(x, name):
                object.__setattr__(made, name, self(getattr(x, name), within(path, name)))
        return made


class Double:
    """A copy that is called in the place of the original, with the arrays that it holds by path."""

    def __init__(self, layer: Any, convert: Callable[[Any], Any]) -> None:
        copier = Copier(convert)
        self.call = copier(layer)
        self.parameters = copier.found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)


def within(path: str, name: Any) -> str:
    """The path of a part."""
    return f"{path}.{name}" if path else str(name)


def slots(cls: type) -> Iterator[str]:
    """The attributes that a class keeps besides its dict."""
    for base in cls.__mro__:
        named = base.__dict__.get("__slots__", ())
        yield from (name for name in ((named,) if isinstance(named, str) else named) if not name.startswith("__"))


def read_names(code: CodeType) -> list[str]:
    """The global names that code reads, and the functions inside of it."""
    found = [x.argval for x in dis.get_instructions(code) if x.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    for inside in code.co_consts:
        if isinstance(inside, CodeType):
            found += read_names(inside)
    return list(dict.fromkeys(found))
