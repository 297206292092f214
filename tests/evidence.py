"""The evidence of a block: one file, ``tests/blocks/**/test_<module>.py``, found by the name of the block's module.

It says, in names that are read by ``test_evidence.py``:

- ``oracle(w, *inputs, **fields)``: the block once more as scalar loops, from the paper's facts and not from our code.
  ``w`` and the inputs are nested lists; it gives nested lists. It must serve every option, and call neither NumPy nor
  ``attn_ref``. The definition is held to it, so that a fault that is alike in all files of a block is found.
- ``FAULTS``: at least three ``Fault``s of the block's own mirrors, and at the tap where each must show; at least one
  with ``reference``, which is planted in the definition too.
- ``CASES``, if a case takes long: how many cases a fault gets, in place of 40.

Whatever else there is to show of the block, such as that a layer of another library agrees, stands there as tests.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import attn_ref as ar
from attn_ref.discovery import module_name

FOLDER = Path(__file__).parent / "blocks"
#: findings that name no tap
PLACELESS = {"raised", "missing", "order", "accepted"}
Change = tuple[str, str]


@dataclass(frozen=True)
class Fault:
    """What is planted, and the tap at which it must show; several taps stand between bars."""

    name: str
    tap: str
    _: KW_ONLY
    #: what stands in a file, and what it becomes
    torch: Change
    keras: Change
    reference: Change | None = None
    #: the file, of each package, where it is not the block's own, such as "batch_norm"
    module: str = ""
    #: does it show in training alone?
    training: bool = False


@dataclass(frozen=True)
class Evidence:
    """What the file of a block says."""

    block: str
    file: Path
    oracle: Callable[..., Any]
    faults: tuple[Fault, ...]
    cases: int

    def module(self, fault: Fault) -> str:
        """The file in which a fault is planted, by its name in each package."""
        return fault.module or own_module(self.block)

    def own(self) -> list[Fault]:
        """Its faults that are planted in its own mirrors and show at a tap whatever the case."""
        return [f for f in self.faults if not f.module and not any(found_nowhere(tap) for tap in f.tap.split("|"))]


def found_nowhere(tap: str) -> bool:
    """Is it a finding that names no tap?"""
    return tap in PLACELESS or " (" in tap


def own_module(block: str) -> str:
    """ "blocks.feed_forward": the same in ``attn_ref`` and in each backend."""
    return ar.block(block).__module__.removeprefix("attn_ref.")


def file_of(block: str) -> Path | None:
    """Where the evidence of a block is, if there is any."""
    found = sorted(FOLDER.rglob(f"test_{module_name(block)}.py"))
    return found[0] if found else None


@cache
def evidence(block: str) -> Evidence:
    """The evidence of a block. LookupError where there is none or where it asserts nothing."""
    file = file_of(block)
    wanted = f"tests/blocks/test_{module_name(block)}.py"
    if file is None:
        raise LookupError(f"{block} has no evidence: {wanted} is missing; tests/evidence.py says what it holds")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    module = importlib.import_module(file.stem)
    oracle, faults = getattr(module, "oracle", None), tuple(getattr(module, "FAULTS", ()))
    if not callable(oracle):
        raise LookupError(f"{file.name} has no oracle: a function oracle(w, *inputs, **fields) of plain lists")
    said = Evidence(block, file, oracle, faults, getattr(module, "CASES", 40))
    if len(said.own()) < 3:
        raise LookupError(f"{file.name} has {len(said.own())} faults of its own mirrors that show at a tap, not 3")
    if not any(fault.reference for fault in faults):
        raise LookupError(f"{file.name} has no fault with a reference: one must be planted in the definition too")
    return said


def inside(block: str, name: str, scope: str) -> Fault:
    """A fault of another block's mirrors, as it shows in a block that has that block at ``scope``."""
    (fault,) = [fault for fault in evidence(block).faults if fault.name == name]
    return replace(fault, tap=f"{scope}.{fault.tap}", module=fault.module or own_module(block))


def norm_faults(norm: str) -> list[Fault]:
    """Faults of the batch norm of each backend, which show in training in the statistics of ``norm``."""
    return [
        Fault(
            "the other convention for the running variance",
            f"{norm}.running_variance",
            torch=("if not self.training or self.unbiased:", "if True:"),
            keras=("if training and self.unbiased:", "if training and not self.unbiased:"),
            module="batch_norm",
            training=True,
        ),
        Fault(
            "momentum is the share of the old value",
            f"{norm}.running_mean",
            torch=("momentum=momentum)", "momentum=1.0 - momentum)"),
            keras=(
                "super().__init__(momentum=1.0 - momentum, **kwargs)",
                "super().__init__(momentum=momentum, **kwargs)",
            ),
            module="batch_norm",
            training=True,
        ),
    ]


def ask(oracle: Callable[..., Any], w: dict[str, np.ndarray], inputs: dict[str, np.ndarray], fields: Any) -> np.ndarray:
    """What an oracle says, which may call neither NumPy nor us. AssertionError if it does."""
    given = [{name: value.tolist() for name, value in values.items()} for values in (w, inputs)]
    with alone():
        found = oracle(given[0], **given[1], **fields)
    return np.array(found, dtype=np.float64)


@contextmanager
def alone() -> Iterator[None]:
    """While it lasts, no function of NumPy, of a framework or of ``attn_ref`` may be called."""
    package = str(Path(ar.__file__).parent)
    strange: set[str] = set()

    def watch(frame: FrameType, event: str, what: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            strange.add(f"{Path(frame.f_code.co_filename).name}: {frame.f_code.co_name}")
        if event == "c_call" and str(getattr(what, "__module__", "")).startswith("numpy"):
            strange.add(f"numpy: {what.__name__}")

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)
    assert not strange, f"the oracle calls {', '.join(sorted(strange))}; it may call neither NumPy nor attn_ref"


@contextmanager
def planted_in_definition(module: str, change: Change) -> Iterator[None]:
    """While it lasts, the classes of a module of ``attn_ref`` have the methods of its source with the change."""
    name = f"attn_ref.{module}"
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text("utf-8")
    old, new = change
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {name}: the fault needs a new text"
    real = sys.modules[name]
    changed: dict[str, Any] = {"__name__": name}
    exec(compile(source.replace(old, new), spec.origin, "exec"), changed)
    before: list[tuple[type, str, Any]] = []
    for title, cls in list(vars(real).items()):
        if isinstance(cls, type) and cls.__module__ == name:
            for method, function in list(vars(cls).items()):
                if callable(function) and not method.startswith("__"):
                    before.append((cls, method, function))
                    setattr(cls, method, vars(changed[title])[method])
    try:
        yield
    finally:
        for cls, method, function in before:
            setattr(cls, method, function)
