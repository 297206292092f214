"""A stranger's layer in plain NumPy: right ones agree, faults are found at their tap and line, nothing is changed."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traced import assert_found, assert_right
from wild.numpy_more import MORE
from wild.numpy_traced import LAYERS, Looped, Packed, mha, softmax

import attn_ref as ar
from attn_ref.trace import plain_numpy
from attn_ref.trace.match import Finder
from attn_ref.trace.store import Store
from attn_ref.verbs.tracers import NotATarget, frameworks

WILD = Path(__file__).parent / "wild" / "numpy_traced.py"
#: what the parameters of the block are called in the layer, where they are that as they stand
WIRED = [
    {"key.kernel": "params.attn.w[:, 12:24]", "value.bias": "params.attn.b[24:36]", "project.kernel": "params.proj.0"},
    {"query.kernel": "wq", "key.kernel": "wk", "value.kernel": "wv", "project.kernel": "wo"},
    {"query.kernel": "w.0", "project.kernel": "w.3"},
    {"expand.kernel": "0.up.kernel", "reduce.bias": "0.down.bias"},
    {"scale": "gamma"},
    {"reduce.kernel": "down.T", "expand.bias": "b2"},
]
NAMES = [make.__name__ for make, *_ in LAYERS]
#: one of so many runs every day, the deep tests run all
EVERYDAY = 3
EVERY = [(make, block, fault, *said) for make, block, faults in LAYERS for fault, said in faults.items()]
FAULTS = [
    pytest.param(*one, id=f"{one[0].__name__}: {one[2]}", marks=[pytest.mark.deep] if n % EVERYDAY else [])
    for n, one in enumerate(EVERY)
]


@pytest.mark.parametrize(
    ("make", "block", "wired"), [(*one[:2], w) for one, w in zip(LAYERS, WIRED, strict=True)], ids=NAMES
)
def test_a_right_layer_agrees(make: Any, block: Any, wired: dict[str, str]) -> None:
    assert_right(make(""), block, wired, cases=8)


@pytest.mark.parametrize(("make", "block", "fault", "taps", "reason", "text"), FAULTS)
def test_a_fault_is_found_at_its_place(make: Any, block: Any, fault: str, taps: str, reason: str, text: str) -> None:
    assert_found(make(fault), block, taps, reason, WILD, text, cases=3)


@pytest.mark.parametrize(
    ("make", "block", "faults", "wired"),
    [
        pytest.param(*one, id=one[0].__name__, marks=[pytest.mark.deep] if n % EVERYDAY else [])
        for n, one in enumerate(MORE)
    ],
)
def test_layers_that_the_tracer_was_not_written_for(make: Any, block: Any, faults: Any, wired: dict[str, str]) -> None:
    verdict = ar.conform(make(), block, cases=8)
    assert verdict.ok, str(verdict)
    assert verdict.worst is not None
    assert verdict.worst < 16
    assert {name: verdict.wiring[name] for name in wired} == wired
    for fault, (tap, reason, text) in faults.items():
        verdict = ar.conform(make(fault), block, cases=2)
        assert not verdict.ok, fault
        assert verdict.first == tap, str(verdict)
        assert not reason or verdict.trap == reason, str(verdict)
        assert text in verdict.places[0].line.code, str(verdict)  # type: ignore[union-attr]


class Stateful:
    """Draws, counts, raises errors for NaN, and has what cannot be copied."""

    def __init__(self) -> None:
        self.inside, self.calls, self.lock = Packed(), 0, threading.Lock()
        self.random, self.library = np.random.default_rng(0), np

    def __call__(self, x: np.ndarray) -> Any:
        self.calls += 1
        self.inside.params["attn"]["b"] *= 1
        self.random.normal()
        np.random.normal()
        np.seterr(divide="print")
        return {"y": self.inside(x), "hidden": [x]}


def test_nothing_is_changed() -> None:
    layer = Stateful()
    drawn, attn = layer.random.bit_generator.state, layer.inside.params["attn"]
    before = {name: x.copy() for name, x in attn.items()}
    told: list[str] = []

    def tracing(frame: Any, event: str, what: Any) -> None:
        told.append(frame.f_code.co_name)

    state, other, errors, python = np.random.get_state(), sys.gettrace(), np.geterr(), random.getstate()
    sys.settrace(tracing)
    try:
        verdict = ar.conform(layer, mha(causal="top_left"), cases=3)
        assert sys.gettrace() is tracing
    finally:
        sys.settrace(other)
    assert verdict.ok, str(verdict)
    assert layer.calls == 0
    assert layer.random.bit_generator.state == drawn
    assert all(x.dtype == np.float32 and np.array_equal(x, before[name]) for name, x in attn.items())
    assert type(attn["w"]) is np.ndarray
    assert np.array_equal(state[1], np.random.get_state()[1])  # type: ignore[index]
    assert (np.geterr(), random.getstate()) == (errors, python)
    assert plain_numpy._recorder is None


WEIGHT = {"w": np.random.default_rng(1).normal(size=(12, 12)).astype(np.float32), "spare": np.ones(3)}


def of_globals(x: np.ndarray) -> np.ndarray:
    return np.asarray(x) @ WEIGHT["w"]


def test_a_function_of_globals_is_read_and_what_it_does_not_take_is_told() -> None:
    tracer = plain_numpy.double(of_globals)
    x = np.random.default_rng(0).normal(size=(30, 12))
    traced = plain_numpy.trace(tracer, [x], {})
    assert traced.unused == ["WEIGHT.spare"]
    assert WEIGHT["w"].dtype == np.float32
    assert traced.parameters["WEIGHT.w"].dtype == np.float64
    assert not traced.narrow


def test_what_is_fixed_in_float32_is_judged_so() -> None:
    class Narrow(Looped):
        def __call__(self, x: np.ndarray) -> np.ndarray:
            return super().__call__(x.astype(np.float32))

    verdict = ar.conform(Narrow(), mha(causal="top_left", use_bias=False), cases=3)
    assert verdict.ok, str(verdict)
    assert any("float32" in note for note in verdict.notes)


def test_a_layer_that_changes_its_input_or_draws_is_told() -> None:
    def doubles(x: np.ndarray) -> np.ndarray:
        x *= 2
        return softmax(x)

    def draws(x: np.ndarray) -> np.ndarray:
        return softmax(x) + np.random.normal(size=x.shape)

    assert "it changes its input in place" in ar.conform(doubles, mha(), cases=1).notes
    assert any("something else each time" in note for note in ar.conform(draws, mha(), cases=1).notes)


def test_arrays_that_tell_compute_what_numpy_does() -> None:
    """Every method and a number of functions, with what they write in place; the results tell as well."""
    rng = np.random.default_rng(0)

    def runs(kind: type) -> list[Any]:
        x, y = (np.array(z).view(kind) for z in (values, values.T))
        arguments = {
            "astype": ["float64"], "clip": [-1, 1], "compress": [[True, False, True], 1],
            "dot": [y], "repeat": [2, 1], "reshape": [3, 5], "swapaxes": [0, 1], "take": [[2, 0], 1],
        }  # fmt: skip
        index = np.array([[0, 1, 0], [1, 1, 0]])
        found = [getattr(x, n)(*arguments.get(n, [])) for n in plain_numpy.METHODS]
        found += [
            np.choose(index, [x[0, :3], x[1, :3]]),
            x.mean(0, keepdims=True),
            x.max(axis=1),
            x[..., None],
            x[x > 0],
        ]
        found += [np.concatenate([x, x]), np.stack([x, x], -1), np.einsum("ij,jk->ik", x, y), np.where(x > 0, x, 0)]
        found += [np.split(x, 5, axis=1), np.linalg.norm(x, axis=-1), np.var(x, -1), np.pad(x, 1), np.tril(x), x @ y]
        found += [np.add.reduce(x, 0), np.maximum(x, 0), np.exp(x, where=x < 9, out=np.zeros_like(x)), np.outer(x, x)]
        found += [
            np.apply_along_axis(softmax, 1, x),
            np.tensordot(x, y, 1),
            np.vectorize(abs)(x).tolist(),
            divmod(x, 2),
            -x,
        ]
        z = x.copy()
        z += 1
        z[0] = x[1]
        z[z > 1] *= 2
        np.add.at(z, (0, 0), 5)
        np.copyto(z, 7, where=z < 0)
        np.multiply(z, 3, out=z)
        z.sort(0)
        return [*found, z, float(x[0, 0]), list(x)]

    values = rng.normal(size=(3, 5))
    for a, b in zip(flat(runs(plain_numpy.Seen)), flat(runs(np.ndarray)), strict=True):
        assert np.array_equal(a, b)
        assert isinstance(a, plain_numpy.Seen) or not isinstance(b, np.ndarray) or a.dtype.kind != "f"


def flat(x: Any) -> list[Any]:
    return [z for y in x for z in flat(y)] if isinstance(x, list | tuple) else [x]


# memory ---------------------------------------------------------------------------------------------------------------


def test_what_is_beyond_the_budget_is_known_by_sums() -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(3, 5, 4, 2)) for _ in range(4)]
    store = Store(limit=2 * values[0].nbytes)
    for value in values:
        store.add("op", value, None)
    store.add("view", values[0].reshape(3, 5, 8), None)  # takes no more memory
    assert [len(store.records), len(store.faint)] == [3, 2]
    assert store.left == 0
    finder = Finder(store.records, store.faint)
    for n, value in enumerate(values):
        found = finder.find(value.transpose(0, 2, 1, 3))
        assert found is not None
        assert found[0].number == n
    wrong = values[3].copy()
    wrong[0, 0, 0, 0], wrong[1, 1, 1, 1] = wrong[1, 1, 1, 1], wrong[0, 0, 0, 0]
    assert finder.find(wrong) is None, "the sums tell an order of elements from another"
    assert finder.find(values[3] * (1 + 1e-4)) is None
    assert store.trace(None, [], {}).notes[0].startswith("2 of 5 values were too much to keep")


def test_a_layer_agrees_whose_last_values_are_not_kept() -> None:
    """Weights are read off what is kept; what comes after is met by its sums."""
    layer, block = plain_numpy.double(Packed()), mha(causal="top_left")
    from attn_ref.trace.faults import faults
    from attn_ref.trace.search import Search
    from attn_ref.verbs.calling import first_inputs

    inputs = first_inputs(block, 0, {})
    whole = plain_numpy.trace(layer, [inputs["query"]], {})
    room = sum(len(x) * 8 for x in {r.value.tobytes(): r.value.ravel() for r in whole.records[:16]}.values())
    part = plain_numpy.trace(layer, [inputs["query"]], {}, limit=room)
    assert part.faint
    assert "too much to keep" in part.notes[0]
    search = Search(block, inputs, part, plain_numpy.outputs(part.output))
    best, _ = faults(search)
    met = {tap for tap, record in best.taps.items() if record in part.faint}
    assert met & {"attention.weights", "attention.context", "merged"}, best.taps.keys()


# which framework ------------------------------------------------------------------------------------------------------


def test_the_framework_is_told_by_what_code_refers_to() -> None:
    assert frameworks(Packed()) == ["numpy"]
    assert frameworks(of_globals) == ["numpy"]
    assert frameworks(lambda x: x @ x) == ["numpy", "torch", "jax", "keras"]

    def late(x: Any) -> Any:
        import torch

        return torch.relu(x)

    assert frameworks(late) == ["torch"]


def test_what_cannot_be_told_is_tried_and_every_try_is_named() -> None:
    pytest.importorskip("torch")
    block = ar.RMSNorm(width=4)
    with pytest.raises(NotATarget, match=r"as one of numpy: .*\n.*no_such(.*\n)*as one of torch: (.*\n)*.*framework="):
        ar.conform(lambda x: x.no_such(), block)
    with pytest.raises(NotATarget, match="framework is one of numpy, torch, keras, jax; got 'mxnet'"):
        ar.conform(lambda x: x, block, framework="mxnet")
    verdict = ar.conform(lambda x: x / (x * x).mean(-1)[..., None] ** 0.5, block, framework="torch")
    assert verdict.first == "normed"


def test_the_command_takes_a_class_of_numpy(tmp_path: Path) -> None:
    arguments = [
        "--block",
        "MultiHeadAttention",
        "--set",
        "width=12",
        "--set",
        "num_heads=3",
        "--set",
        "causal=top_left",
    ]
    for fault, code in (("", 0), ("softmax over queries", 1)):
        command = [sys.executable, "-m", "attn_ref", "conform", f"{WILD}:Packed", *arguments, "--framework", "numpy"]
        done = subprocess.run([*command, "--init", f"fault={fault}"], capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
    assert "e = np.exp(x - x.max(axis=axis, keepdims=True))" in done.stdout
