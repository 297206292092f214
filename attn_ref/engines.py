"""Engines: which there are, the backend that serves each, and what to do where one is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

from attn_ref.backend import Backend
from attn_ref.foreign import broken, peers
from attn_ref.names import Named, hint

GROUP = "attn_ref.backends"


class MissingBackend(RuntimeError, ImportError):
    """An engine whose framework is not installed."""


@contextmanager
def needing(package: str, extra: str) -> Iterator[None]:
    """Around an ``import`` of ``package``'s framework: MissingBackend with what installs it if it is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingBackend(f"{package} needs {error.name}: pip install 'attn_ref[{extra}]'") from error


@cache
def backends() -> dict[str, type[Backend]]:
    """Engine -> the backend class that serves it, installed or not, in order of entry point. Imports no framework."""
    from importlib.metadata import entry_points  # here, because importing it takes half as long as NumPy

    found = Named[type[Backend]]("engine")
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name != "torch"):
        cls = point.load()
        found.update(dict.fromkeys(cls.engines, cls))
    return found


def served(engine: str) -> type[Backend]:
    """The backend class of an engine, or of a layer of another library by its name. KeyError if there is none."""
    known = backends()
    return known[engine] if engine in known else _peers()[engine]


@cache
def _peers() -> dict[str, type[Backend]]:
    return {name: backends()[peer.engine].of(peer) for name, peer in peers().items()}


def _engine_hint(name: str, known: Mapping[str, type[Backend]]) -> str:
    if name.casefold() == "numpy":
        return "NumPy is the reference itself, so call the block: block(w, …); "
    serving = [e for e, cls in known.items() if name.casefold() == cls.name and e not in cls.on_request]
    if serving and name.casefold() not in known:
        return f"the mirrors of {name} run on {' or '.join(serving)}; "
    return hint(name, known)


@cache
def backend(engine: str) -> Backend:
    """The backend that serves ``engine``. ValueError if there is none, MissingBackend if it is not installed."""
    known = backends()
    if engine not in known and engine not in _peers():
        told, others = _engine_hint(str(engine), known | _peers()), ", ".join(_peers())
        told = f"{told}the engines are {', '.join(known)}; layers of other libraries are {others}"
        told += "".join(f"; {file} cannot be imported: {why}" for file, why in broken().items())
        raise ValueError(f"unknown engine {engine!r}; {told}")
    cls = served(engine)
    if cls.version(engine) is None:
        extra = "jax" if cls.engines[engine] == "jax" else cls.extra
        raise MissingBackend(
            f"engine {engine!r} needs {cls.engines[engine]}, which is not installed: pip install 'attn_ref[{extra}]'"
        )
    return cls(engine)
