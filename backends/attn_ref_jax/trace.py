"""Tracing what is written in JAX: functions, objects, pytrees, modules of flax; compiled or not.

A copy runs in float64. 64 bits are allowed while it does, whatever the process is set to, and no longer.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_ref.trace.copies import NOTHING, Copier, within
from attn_ref.trace.record import Trace
from attn_ref.trace.store import LIMIT, Store
from attn_ref_jax.walk import floats, to_numpy, walk

#: where channels stand
CHANNELS_LAST = True
#: keys of a path that say how an array is held, not where
HOLDERS = ("value", "raw_value")


class Pure:
    """A copy of a layer as a function of the arrays that it holds."""

    def __init__(self, layer: Any, parameters: Mapping[str, Any], build: Callable[[Sequence[Any]], Any]) -> None:
        #: the layer, whose arguments are asked for; its arrays in float64; what makes it of others
        self.call, self.parameters, self.build = layer, dict(parameters), build

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.build([*self.parameters.values()])(*args, **kwargs)


def double(layer: Any) -> Pure:
    """A copy in float64."""
    with jax.enable_x64(True):
        for kind in (linen, nnx, pytree):
            if made := kind(layer):
                return made
        copier = Copier(converted)
        copied = copier(layer)
        arrays: dict[str, Any] = {}
        for path, x in copier.found.items():
            arrays |= {within(path, n): y for n, y in x.parameters.items()} if isinstance(x, Pure) else {path: x}
        return Pure(layer, arrays, lambda own: copied)


def converted(x: Any) -> Any:
    """An array of floats in float64, a module of flax as its copy; NOTHING for anything else."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return np.array(x, np.float64)
    if isinstance(x, jax.Array) and floats(x) and not isinstance(x, jax.core.Tracer):
        return widened(x)
    return linen(x) or nnx(x) or NOTHING


def widened(x: Any) -> Any:
    """An array of floats in float64, of its own; anything else stays."""
    return jnp.array(x, jnp.float64, copy=True) if floats(x) else x


def linen(layer: Any) -> Pure | None:
    """A module of flax.linen that is bound to its variables."""
    library = sys.modules.get("flax.linen")
    if library is None or not isinstance(layer, library.Module):
        return None
    if layer.scope is None:
        raise ValueError("a module of flax.linen is held with its variables: give module.bind(variables)")
    module, variables = layer.unbind()
    return rebuilt(layer, variables, lambda tree: functools.partial(module.apply, tree))


def nnx(layer: Any) -> Pure | None:
    """A module of flax.nnx, in evaluation."""
    library = sys.modules.get("flax.nnx")
    if library is None or not isinstance(layer, library.Module):
        return None
    graph, state = library.split(layer)

    def build(tree: Any) -> Any:
        module = library.merge(graph, tree)
        module.eval()
        return module

    return rebuilt(layer, state, build)


def pytree(layer: Any) -> Pure | None:
    """An object that JAX knows how to take apart."""
    if jax.tree_util.all_leaves([layer]):
        return None
    return rebuilt(layer, layer, lambda tree: tree)


def rebuilt(layer: Any, tree: Any, build: Callable[[Any], Any]) -> Pure:
    """A layer that is built of a tree, whose real arrays are what the layer holds."""
    found, kind = jax.tree_util.tree_flatten_with_path(tree)
    parameters = {name_of(path): widened(x) for path, x in found if floats(x)}
    places = [n for n, (_, x) in enumerate(found) if floats(x)]

    def of(own: Sequence[Any]) -> Any:
        parts = [x for _, x in found]
        for n, x in zip(places, own, strict=True):
            parts[n] = x
        return build(jax.tree_util.tree_unflatten(kind, parts))

    return Pure(layer, parameters, of)


def name_of(path: Sequence[Any]) -> str:
    """A path with dots."""
    keys = [str(next(getattr(k, a) for a in ("key", "name", "idx") if hasattr(k, a))) for k in path]
    return ".".join(keys[:-1] if len(keys) > 1 and keys[-1] in HOLDERS else keys)


def trace(layer: Pure, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = LIMIT) -> Trace:
    """Run ``layer``, which ``double`` gave, on NumPy arrays and record everything."""
    return traced(
        lambda own, *x, **y: layer.build(own)(*x, **y), layer.parameters, args, kwargs, home(layer.call), limit
    )


def traced(
    function: Callable[..., Any], parameters: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any],
    files: set[str], limit: int,
) -> Trace:  # fmt: skip
    """Run ``function(parameters, *args, **kwargs)`` and record everything."""
    store = Store(limit)
    with jax.enable_x64(True):
        places = [*range(len(args)), *kwargs]
        every = [*args, *kwargs.values()]
        arrays = [n for n, x in enumerate(every) if isinstance(x, np.ndarray)]

        def of_arrays(own: Sequence[Any], *given: Any) -> Any:
            now = dict(zip(places, every, strict=True)) | {places[n]: x for n, x in zip(arrays, given, strict=True)}
            return function(own, *(now[n] for n in range(len(args))), **{name: now[name] for name in kwargs})

        own = [*parameters.values()]
        output, taken = walk(of_arrays, own, [lift(every[n]) for n in arrays], store, files)
        unused = [name for name, x in parameters.items() if isinstance(x, jax.Array) and id(x) not in taken]
        return store.trace(output, unused, {name: to_numpy(x) for name, x in parameters.items()})


def home(layer: Any) -> set[str]:
    """The file in which the call of a layer stands."""
    code = getattr(inspect.unwrap(layer), "__code__", None)
    code = code or getattr(inspect.unwrap(type(layer).__call__), "__code__", None)
    return {code.co_filename} if code else set()


def lift(x: np.ndarray) -> Any:
    """An array of JAX's, reals in float64."""
    return jnp.asarray(x, jnp.float64 if x.dtype.kind == "f" else None)


def outputs(result: Any) -> list[np.ndarray]:
    """The real arrays in what came out, the first of them first."""
    return list(result)
