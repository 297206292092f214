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
    pytest.mark.xdist_group("traced in Keras"),  # in one worker, which starts one process for all of them
    pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.deep), "tensorflow"]),
]


#: runs the file, then says which faults are in it
CODE = """
import json, runpy, sys
layers = runpy.run_path(sys.argv[1], run_name="__main__")["LAYERS"]
print()
json.dump([[make.__name__, faults] for make, _, faults in layers], sys.stdout)
"""


@cache
def told(backend: str) -> tuple[Any, Any]:
    """What the file prints, and its faults."""
    pytest.importorskip(backend)
    environment = os.environ | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-c", CODE, str(WILD)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found, faults = done.stdout.splitlines()[-2:]
    return json.loads(found), json.loads(faults)


def found(backend: str) -> Any:
    return told(backend)[0]


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


def test_faults_are_found_at_their_place(backend: str) -> None:
    count = 0
    for name, faults in told(backend)[1]:
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
