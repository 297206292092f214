"""A stranger's layer in Keras, on each backend in a process of its own: right ones agree, faults are found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

WILD = Path(__file__).parent / "wild" / "keras_traced.py"
#: layer -> parameter of the block -> how the parameter of the layer is called
WIRED = {
    "Packed": {"key.kernel": "/kernel[:, 12:24]", "value.bias": "/bias[24:36]"},
    "network": {"expand.kernel": "wide/kernel", "reduce.bias": "narrow/bias"},
    "Norm": {"scale": "norm/scale"},
    "Excite": {"reduce.kernel": "/kernel", "expand.bias": "/bias"},
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.deep), "tensorflow"]),
]


@cache
def found(backend: str) -> Any:
    """What the file prints."""
    pytest.importorskip(backend)
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, str(WILD)], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def expected() -> Any:
    pytest.importorskip("keras")
    code = "import json, wild.keras_traced as m; print(json.dumps([[k.__name__, f] for k, _, f in m.LAYERS]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(WILD.parents[1]), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


def test_right_layers_agree(backend: str) -> None:
    for name, wired in WIRED.items():
        verdict = found(backend)["verdicts"][f"{name}: "]
        assert verdict["ok"], verdict
        assert verdict["cases"] == 3
        assert verdict["worst"] < 16
        assert verdict["notes"] == []
        assert all(verdict["wiring"][key].endswith(value) for key, value in wired.items()), verdict["wiring"]
    plain = found(backend)["verdicts"]["function: "]
    assert plain["ok"], plain
    assert plain["wiring"]["expand.kernel"] == "up"
    assert plain["notes"] == []


def test_faults_are_found_at_their_place(backend: str, expected: Any) -> None:
    count = 0
    for name, faults in expected:
        for fault, (taps, reason, text) in faults.items():
            verdict = found(backend)["verdicts"][f"{name}: {fault}"]
            place = verdict["places"][0]
            assert not verdict["ok"]
            assert place["tap"] in taps.split("|"), (name, fault, place)
            assert not reason or place["reason"] in reason.split("|"), (name, fault, place)
            assert text in (place["code"] or place["operation"]), (name, fault, place)
            assert name == "network" or place["file"] == str(WILD)
            count += 1
    assert count == 13


def test_the_process_is_as_it_was(backend: str) -> None:
    state = found(backend)["state"]
    assert state["plain"] == "float32"
    assert state["promoted"] == ("float64" if backend == "tensorflow" else "float32")
    assert not state.get("x64")
