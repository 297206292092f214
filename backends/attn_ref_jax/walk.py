"""A function of JAX, run step by step: every operation with its value and the line that asked for it.

JAX says which operations a function is made of, its jaxpr; each is run here in turn, those inside of what is compiled,
of loops and of branches as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from attn_ref.trace.record import Line, inner, leaves, users
from attn_ref.trace.store import Store

#: operations that run an inner jaxpr once, by the parameters under which it stands
INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")
CALLS = (
    "jit", "pjit", "closed_call", "core_call", "named_call", "checkpoint", "remat", "remat2", "custom_jvp_call",
    "custom_vjp_call", "custom_vjp_call_jaxpr",
)  # fmt: skip


def floats(x: Any) -> bool:
    """Is it an array of real numbers?"""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)


def plain(x: Any) -> bool:
    """Is it an array of numbers or bools, not of random keys?"""
    return hasattr(x, "dtype") and not jnp.issubdtype(x.dtype, jax.dtypes.extended)


def walk(
    function: Callable[..., Any], own: Sequence[Any], args: Sequence[Any], store: Store, home: Collection[str]
) -> tuple[list[np.ndarray], set[int]]:
    """The real arrays in what ``function(own, *args)`` gives, and the ids of the arrays that operations took."""
    closed = jax.make_jaxpr(lambda own, args: [x for x in leaves(function(own, *args)) if floats(x)])(own, args)
    walker = Walker(store, home)
    given = jax.tree_util.tree_leaves((own, args))
    store.start(np.asarray(x) for x in jax.tree_util.tree_leaves(args))
    results = walker.run(closed.jaxpr, closed.consts, given, None)
    return [to_numpy(x) for x in results], walker.taken


def to_numpy(x: Any) -> np.ndarray:
    """A copy."""
    return np.array(x, np.float64)


class Walker:
    """Runs jaxprs."""

    def __init__(self, store: Store, home: Collection[str]) -> None:
        self.store, self.home = store, home
        self.taken: set[int] = set()

    def run(self, jaxpr: Jaxpr, consts: Iterable[Any], args: Sequence[Any], caller: Line | None) -> list[Any]:
        """What it gives; ``caller``: the line that called it."""
        known: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        last = {v: n for n, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if not isinstance(v, Literal)}
        last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if not isinstance(v, Literal)}

        def read(v: Any) -> Any:
            return v.val if isinstance(v, Literal) else known[v]

        for n, eqn in enumerate(jaxpr.eqns):
            line = self.line(eqn, caller)
            results = self.equation(eqn, [read(v) for v in eqn.invars], line)
            known.update(zip(eqn.outvars, results, strict=True))
            for v in {v for v in (*eqn.invars, *eqn.outvars) if not isinstance(v, Literal)}:
                if last.get(v, n) <= n:
                    del known[v]
        return [read(v) for v in jaxpr.outvars]

    def equation(self, eqn: JaxprEqn, given: list[Any], line: Line | None) -> list[Any]:
        """What one operation gives."""
        name, told = eqn.primitive.name, eqn.params
        inside = next((told[key] for key in INSIDE if key in told), None) if name in CALLS else None
        if inside is not None and len(opened(inside)[0].invars) == len(given):
            jaxpr, consts = opened(inside)
            return self.run(jaxpr, consts, given, line)
        if name == "scan" and told["length"] > 0:
            results = self.scan(told, given, line)
        elif name == "while":
            results = self.loop(told, given, line)
        elif name == "cond":
            which, *operands = given
            branch = told["branches"][min(max(int(which), 0), len(told["branches"]) - 1)]
            return self.run(branch.jaxpr, branch.consts, operands, line)
        else:
            bound = eqn.primitive.get_bind_params(told)
            functions, options = bound if isinstance(bound, tuple) else ((), bound)  # as JAX had it before 0.10
            with eqn.ctx.manager:
                result = eqn.primitive.bind(*functions, *given, **options)
            results = list(result) if eqn.primitive.multiple_results else [result]
            self.taken.update(id(x) for x in given)
        came = self.store.came(lambda: [np.asarray(x) for x in given if plain(x)])
        scope = str(eqn.source_info.name_stack)
        operation = name if line or not scope else f"{name} in layer {scope.rpartition('/')[2]!r}"
        for x in results:
            if floats(x):
                self.store.add(operation, np.asarray(x).astype(np.float64), line, x.dtype.itemsize < 8, came)
            elif plain(x):
                self.store.carry(partial(np.asarray, x), came)
        return results

    def scan(self, told: Any, given: list[Any], line: Line | None) -> list[Any]:
        """A loop over the first axis, step by step."""
        inside, held = told["jaxpr"], told["num_consts"]
        carried = held + told["num_carry"]
        carry, every = given[held:carried], given[carried:]
        self.taken.update(id(x) for x in every)
        steps: list[list[Any]] = []
        order = range(told["length"])
        for n in reversed(order) if told["reverse"] else order:
            results = self.run(inside.jaxpr, inside.consts, [*given[:held], *carry, *(x[n] for x in every)], line)
            carry = results[: told["num_carry"]]
            steps.append(results[told["num_carry"] :])
        steps = steps[::-1] if told["reverse"] else steps
        return [*carry, *(jnp.stack(parts) for parts in zip(*steps, strict=True))]

    def loop(self, told: Any, given: list[Any], line: Line | None) -> list[Any]:
        """A loop as long as a condition holds."""
        asks, does = told["cond_jaxpr"], told["body_jaxpr"]
        first, second = told["cond_nconsts"], told["cond_nconsts"] + told["body_nconsts"]
        state = given[second:]
        while bool(self.run(asks.jaxpr, asks.consts, [*given[:first], *state], line)[0]):
            state = self.run(does.jaxpr, does.consts, [*given[first:second], *state], line)
        return state

    def line(self, eqn: JaxprEqn, caller: Line | None) -> Line | None:
        """The line of the user's that asked for an operation; inside of what a framework compiles, that of its call."""
        frames: Any = eqn.source_info.traceback.frames if eqn.source_info.traceback else ()
        lines = (Line(f.file_name, f.line_num, f.function_name.rpartition(".")[2]) for f in frames)
        found = users(lines, self.home)
        return found if found and (caller is None or not inner(found.file)) else caller


def opened(jaxpr: ClosedJaxpr | Jaxpr) -> tuple[Jaxpr, Sequence[Any]]:
    """A jaxpr and the constants that it is given."""
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, ClosedJaxpr) else (jaxpr, ())
