"""Every block has evidence: an oracle that the definition is held to, and faults that are caught where they are."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence import Fault, ask, evidence, planted_in_definition
from planting import assert_caught_at, differing, planted

import attn_ref as ar
from attn_ref.check.cases import Case
from attn_ref.check.covering import planned
from attn_ref.check.judge import farthest
from attn_ref.check.large import load
from attn_ref.check.tolerance import LIMIT, OUTPUT, RUNS, Truth, deviation
from attn_ref.tap import Tapped
from benchmarks.mutants import PACKAGES

BLOCKS = sorted(ar.blocks())
#: numbers up to which loops take milliseconds: 65 tokens are few, and what they see of each other is not
SMALL = 600
BOUND = LIMIT["float64"]


@cache
def asked(name: str) -> list[tuple[Case, np.ndarray]]:
    """Small cases of a check, which meet every option, and what the oracle says to each."""
    given = [replace(case, seed=n) for n, case in enumerate(planned(ar.block(name)))]
    given = [case for case in given if load(case) <= SMALL and not case.empty()]
    oracle = evidence(name).oracle
    return [(case, ask(oracle, case.weights(), case.inputs(), case.fields)) for case in given]


def ratio(case: Case, said: np.ndarray) -> float:
    """How far the definition is from the oracle, in units of what rounding explains."""
    right = Truth(case.build(), case.weights(), case.inputs(), "float64", runs=0)
    error = deviation(Tapped(said, ""), right.taps[OUTPUT])
    while (found := farthest(error, right.unit[OUTPUT])[2]) > BOUND / 4 and right.runs < RUNS and np.isfinite(found):
        right.learn(right.runs + 1)
    return found


def differs(name: str) -> Case | None:
    """The first case in which the definition is not the oracle."""
    return next((case for case, said in asked(name) if not ratio(case, said) <= BOUND), None)


#: in one worker, since both ask its oracle the same, of cases that test_covering.py draws too
EACH = [pytest.param(name, marks=pytest.mark.xdist_group(f"cases of {name}")) for name in BLOCKS]


@pytest.mark.parametrize("name", EACH)
def test_the_definition_is_the_oracle(name: str) -> None:
    """In every option, since the cases are those that cover them; within what rounding explains, as engines are."""
    assert len(asked(name)) >= 5, "the oracle is asked too little"
    case = differs(name)
    assert case is None, f"{name} is not its oracle in {evidence(name).file.name}: {case.to_json() if case else ''}"


@pytest.mark.parametrize("name", EACH)
def test_a_fault_of_the_definition_is_found(name: str) -> None:
    """Though the mirrors may have it too: they are not asked here."""
    said = evidence(name)
    for fault in said.faults:
        if fault.reference:
            with planted_in_definition(said.module(fault), fault.reference):
                assert differs(name), f"{fault.name}: the oracle of {name} does not see it"
    assert differs(name) is None, "something is left of the fault"


@pytest.mark.deep
@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_fault_alike_in_all_files_passes_a_check_and_the_oracle_finds_it(name: str, engine: str) -> None:
    """Which is why there are oracles."""
    said = evidence(name)
    for fault in said.faults:
        if not fault.reference:
            continue
        change = {"torch": fault.torch, "tensorflow": fault.keras}[engine]
        module = said.module(fault)
        with planted_in_definition(module, fault.reference), planted(f"{PACKAGES[engine]}.{module}", *change):
            assert differing(engine, name, 12) == [], fault.name
            assert differs(name), fault.name


def on_engines() -> list[Any]:
    """Each fault on torch, and on TensorFlow; there the everyday tests have the first of a block, the deep ones all.

    Where a block's evidence is amiss that is a test, too.
    """
    found = []
    for name in BLOCKS:
        try:
            faults: tuple[Fault | None, ...] = evidence(name).faults
        except LookupError:
            faults = (None,)
        for n, fault in enumerate(faults):
            title = f"{name}: {fault.name if fault else 'evidence'}"
            found.append(pytest.param(name, fault, "torch", id=f"{title}-torch"))
            deep = [pytest.mark.deep] if n else []
            found.append(pytest.param(name, fault, "tensorflow", marks=deep, id=f"{title}-tensorflow"))
    return found


@pytest.mark.parametrize(("name", "fault", "engine"), on_engines())
def test_fault_is_caught_at_its_tap(name: str, fault: Fault | None, engine: str) -> None:
    said = evidence(name)
    assert fault
    count = said.cases // 2 if fault.training else said.cases
    assert_caught_at(fault, engine, name, said.module(fault), count)


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_nothing_is_left_of_a_planted_fault(engine: str) -> None:
    assert differing(engine, "MultiHeadAttention", 10) == []


NOTHING = "def oracle(w, x):\n    return x\n"
THREE = """
from evidence import Fault

FAULTS = [Fault(str(n), "{tap}", torch=("a", "b"), keras=("a", "b")) for n in range(3)]
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "FeedForward has no evidence: tests/blocks/test_feed_forward.py is missing"),
        ("", "has no oracle: a function oracle"),
        (NOTHING, "has 0 faults of its own mirrors that show at a tap, not 3"),
        (NOTHING + THREE.format(tap="raised"), "has 0 faults of its own mirrors"),
        (NOTHING + THREE.format(tap="hidden"), "has no fault with a reference"),
    ],
    ids=["missing", "empty", "no faults", "no taps", "no reference"],
)
def test_evidence_that_is_missing_or_asserts_nothing_is_told(
    text: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evidence.FOLDER", tmp_path)
    monkeypatch.delitem(sys.modules, "test_feed_forward", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if text is not None:
        (tmp_path / "test_feed_forward.py").write_text(text)
    with pytest.raises(LookupError, match=re.escape(message)):
        evidence.__wrapped__("FeedForward")
    monkeypatch.delitem(sys.modules, "test_feed_forward", raising=False)


@pytest.mark.parametrize(
    ("oracle", "called"),
    [
        (lambda w, x: np.sum(np.array(x), keepdims=True).tolist(), "numpy"),
        (lambda w, x: [[[float(ar.ops.relu(x[0][0][0]))]]], "primitive"),
    ],
    ids=["numpy", "ours"],
)
def test_an_oracle_that_calls_what_it_judges_is_told(oracle: Any, called: str) -> None:
    with pytest.raises(AssertionError, match=f"the oracle calls .*{called}"):
        ask(oracle, {}, {"x": np.ones((2, 2, 2))}, {})
