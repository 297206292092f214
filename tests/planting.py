"""Planting faults: a mirror's own source with one piece exchanged, in place of the mirror while a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from evidence import Fault

import attn_ref as ar
from attn_ref.catalogue import is_model
from attn_ref.check.adjoint import compare_gradients
from attn_ref.check.cases import cases
from attn_ref.check.compare import compare
from attn_ref.check.drawing import drawn
from attn_ref.check.judge import Outcome
from benchmarks.mutants import PACKAGES, instead


@contextmanager
def planted(module: str, old: str, new: str) -> Iterator[None]:
    """While it lasts, ``module`` is its source with ``old``, which must stand there once, replaced by ``new``.

    Everything in the same package is imported anew, so that whatever is built of the module has the fault too.
    """
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text("utf-8")
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {module}: the fault needs a new text"
    with instead(module, compile(source.replace(old, new), spec.origin, "exec")):
        yield


def differing(engine: str, block: str, count: int, training: bool = False) -> list[Outcome]:
    """The first three outcomes that differ, of ``count`` random cases and as many that a check draws.

    In ``training`` of gradients too.
    """
    backend, cls = ar.backend(engine), ar.block(block)
    given = [*cases(cls, count), *drawn(cls, engine, "forward", count, 0)]
    if training:
        outcomes = (compare_gradients(backend, case, "float64", training=True) for case in given)
    else:
        outcomes = (compare(backend, case, "float64") for case in given)
    return list(islice((outcome for outcome in outcomes if outcome.first), 3))


def assert_caught_at(fault: Fault, engine: str, block: str, module: str, count: int = 40) -> None:
    """Up to ``count`` cases find the fault, and every one that does names its tap."""
    change = {"torch": fault.torch, "tensorflow": fault.keras}[engine]
    with planted(f"{PACKAGES[engine]}.{module}", *change):
        found = differing(engine, block, count, fault.training)
    assert found, f"{fault.name}: not caught on {engine}"
    named = {outcome.first for outcome in found}
    assert named <= set(fault.tap.split("|")), f"{fault.name}: reported at {named}, planted at {fault.tap}"


def few(name: str, count: int) -> int:
    """How many cases of a block the everyday tests draw: half as many of the models."""
    return count // 2 if is_model(ar.block(name)) else count
