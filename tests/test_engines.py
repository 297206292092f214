"""Engines that compile a block whole: the same taps, gradients and faults; one compilation for every seed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planting import planted

import attn_ref as ar
from attn_ref.catalogue import is_model
from attn_ref.check.adjoint import compare_gradients, keep_masks, trains
from attn_ref.check.cases import Case, cases
from attn_ref.check.compare import compare
from attn_ref.check.covering import planned
from attn_ref.check.drawing import drawn
from attn_ref.check.runner import chosen_engines
from attn_ref.check.worker import task
from attn_ref.compiled import Compiled

EAGER = ("torch", "tensorflow")
QUICK = ("torch-export", "tensorflow-graph", "tensorflow-xla")
COMPILED = ("torch-compile", *QUICK)
BLOCKS = sorted(ar.blocks())


def case_of(name: str, **fields: Any) -> Case:
    """A case of a block with something in its batch, and with these fields."""
    found = (c for c in cases(ar.block(name), 200, seed=3) if all(map(all, c.shapes.values())))
    return next(c for c in found if all(c.fields[key] == value for key, value in fields.items()))


def takes_long(name: str) -> bool:
    return is_model(ar.block(name)) or name.startswith("CBAM")


def loaded(engine: str, case: Case) -> tuple[Any, Any]:
    """The engine's backend, and the case's layer."""
    backend = ar.backend(engine)
    return backend, backend.load(backend.build(case.build()), case.weights())


def agree(outcome: Any) -> None:
    assert outcome.first is None, f"{outcome.first}: {outcome.detail}\n{outcome.case}"


def in_turn() -> list[Any]:
    """Every block on one of the engines, in turn; on the others, and what takes long, in the deep tests.

    Whether a mirror can be traced is asked of each every day by its life as a layer in test_every_block.py.
    """
    turns = [(name, n, engine, m) for n, name in enumerate(BLOCKS) for m, engine in enumerate(QUICK)]
    return [
        pytest.param(name, engine, marks=[pytest.mark.deep] if n % len(QUICK) != m or takes_long(name) else [])
        for name, n, engine, m in turns
    ]


@pytest.mark.parametrize(("name", "engine"), in_turn())
def test_every_block_agrees_on_every_engine(name: str, engine: str) -> None:
    """Names, labels and order of the taps too, which ``compare`` holds to the reference's."""
    agree(compare(ar.backend(engine), case_of(name), "float64"))


@pytest.mark.slow
@pytest.mark.parametrize("engine", QUICK)
@pytest.mark.parametrize(
    ("name", "training"),
    [
        pytest.param("FeedForward", False, id="gradient-FeedForward", marks=pytest.mark.deep),
        pytest.param("ScaledDotProductAttention", False, id="gradient-ScaledDotProductAttention"),
        pytest.param("FeedForward", True, id="training-FeedForward"),
        pytest.param(
            "ScaledDotProductAttention", True, id="training-ScaledDotProductAttention", marks=pytest.mark.deep
        ),
    ],
)
def test_gradients_agree_on_every_engine(name: str, engine: str, training: bool) -> None:
    agree(compare_gradients(ar.backend(engine), case_of(name, dropout=0.25), "float64", training=training))


@pytest.mark.deep
def test_torch_compile_agrees_and_compiles_once_for_every_seed() -> None:
    import torch

    backend, case = ar.backend("torch-compile"), case_of("FeedForward", dropout=0.25)
    agree(compare_gradients(backend, case, "float64", training=True))
    with torch.compiler.set_stance("fail_on_recompile"):
        agree(compare_gradients(backend, replace(case, seed=case.seed + 1), "float64", training=True))


@pytest.mark.deep
@pytest.mark.parametrize("mode", ["forward", "gradient", "training"])
@pytest.mark.parametrize("engine", COMPILED)
def test_every_block_in_every_mode_on_every_engine(engine: str, mode: str) -> None:
    report = ar.check(engines=engine, modes=mode, cases=6)
    assert report.ok, str(report)


@pytest.mark.parametrize("engine", QUICK)
def test_parameters_and_keep_masks_are_arguments(engine: str) -> None:
    """A second layer with other weights, inputs and masks: nothing is traced again, nothing is left of the first."""
    import importlib

    module = importlib.import_module(f"attn_ref_{'torch' if engine.startswith('torch') else 'keras'}.compiled")
    case = replace(case_of("FeedForward", dropout=0.25), seed=1)
    outputs, before = [], None
    for seed in (1, 2):
        again = replace(case, seed=seed)
        block, w, x = again.build(), again.weights(), again.inputs()
        masks = keep_masks(block, again, w, x, "float64")
        backend, layer = loaded(engine, again)
        with ar.replace(masks) as taps:
            want = block(w, **x)
        run = backend.run(layer, x, replace=masks)
        np.testing.assert_allclose(run.output, want, rtol=1e-13, atol=1e-13)
        assert {n: t.labels for n, t in run.taps.items()} == {n: t.labels for n, t in taps.items()}
        assert list(run.taps) == list(taps)
        outputs.append(run.output)
        assert before in (None, len(module.KEPT.kept)), "the second seed was compiled by itself"
        before = len(module.KEPT.kept)
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1


@pytest.mark.parametrize("engine", ["tensorflow-graph", "tensorflow-xla"])
def test_python_is_run_once_for_every_seed(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from attn_ref_keras.blocks.feed_forward import FeedForward

    calls, plain = [], FeedForward.call
    monkeypatch.setattr(FeedForward, "call", lambda *args, **given: (calls.append(1), plain(*args, **given))[1])
    block = ar.FeedForward(width=3, hidden_width=2)
    backend = ar.backend(engine)
    for seed in (1, 2, 3):
        layer = backend.load(backend.build(block), block.init(seed))
        backend.run(layer, {"x": np.full((2, 2, 3), float(seed))})
        backend.gradients(layer, {"x": np.full((2, 2, 3), float(seed))}, np.full((2, 2, 3), float(seed)))
    assert len(calls) == 2, "one for values and one for gradients"


@pytest.mark.parametrize("engine", QUICK)
def test_taps_are_added_to_and_replaced_and_unknown_ones_refused(engine: str) -> None:
    case = case_of("FeedForward", activation="relu")
    backend, layer = loaded(engine, case)
    x = case.inputs()
    plain = backend.run(layer, x)
    value, labels = plain.taps["active"]
    turned = ar.Tapped(np.ones_like(value).swapaxes(0, 2), " ".join(reversed(labels.split())))
    more = backend.run(layer, x, observe=False, add={"active": turned})
    np.testing.assert_allclose(more.taps["active"].value, value + 1.0, rtol=1e-14, atol=1e-14)
    other = backend.run(layer, x, replace={"active": more.taps["active"]})
    np.testing.assert_allclose(other.output, more.output, rtol=1e-14, atol=1e-14)
    with pytest.raises(ValueError, match=r"no such tap: activ; did you mean active\? the taps are hidden,"):
        backend.run(layer, x, add={"activ": more.taps["active"]})


@pytest.mark.parametrize("engine", QUICK)
def test_a_planted_fault_is_caught_at_its_tap(engine: str) -> None:
    """Though the same block was compiled without it before."""
    case, backend = case_of("EncoderLayer"), ar.backend(engine)
    agree(compare(backend, case, "float64"))
    package = "attn_ref_torch" if engine.startswith("torch") else "attn_ref_keras"
    with planted(f"{package}.blocks.feed_forward", "self.expand(x)", "self.expand(x) * (1 + 1e-12)"):
        assert compare(backend, case, "float64").first == "feed_forward.hidden"
    agree(compare(backend, case, "float64"))


@pytest.mark.parametrize("engine", [*EAGER, "torch-export", "tensorflow-graph"])
def test_whoever_records_around_a_run_does_not_hear_it(engine: str) -> None:
    case = case_of("FeedForward")
    backend, layer = loaded(engine, case)
    with ar.record() as heard:
        run = backend.run(layer, case.inputs(), observe=False)
        assert backend.run(layer, case.inputs()).taps
    assert not heard
    assert not run.taps


@pytest.mark.parametrize("engine", EAGER)
def test_listening_gives_taps_their_full_names(engine: str) -> None:
    case = case_of("TextEncoder", num_layers=2)
    backend, layer = loaded(engine, case)
    block, w, x = case.build(), case.weights(), case.inputs()
    with ar.record() as want:
        block(w, **x)
    if engine == "torch":
        import torch

        given = {name: torch.from_numpy(value) for name, value in x.items()}
        attribute, inner = "forward", layer.layers[0].feed_forward
    else:
        given, attribute, inner = x, "call", layer.layers[0].feed_forward
    own = getattr(inner, attribute)
    vars(inner)[attribute] = own  # as a user may have set it
    with backend.listening(layer), ar.record() as taps:
        layer(**given)
    assert {n: t.labels for n, t in taps.items()} == {n: t.labels for n, t in want.items()}
    assert list(taps) == list(want)
    assert vars(inner)[attribute] is own
    assert attribute not in vars(layer.layers[1].feed_forward)
    with backend.listening(layer):  # a run inside is a run like any other
        assert list(backend.run(layer, x).taps) == list(want)


def test_engines_that_compile_run_when_they_are_asked_for() -> None:
    assert chosen_engines(None) == ["torch", "tensorflow", "jax"]
    assert chosen_engines(["all"]) == list(ar.backends())
    assert chosen_engines(["torch-compile", "torch-compile"]) == ["torch-compile"]


@pytest.mark.parametrize("name", BLOCKS)
def test_cases_share_shapes_where_shapes_are_compiled(name: str) -> None:
    def kinds(engine: str, mode: str = "forward") -> tuple[int, int]:
        found = drawn(ar.block(name), engine, mode, 60, 0)
        assert len({case.seed for case in found}) == 60
        for case in found:
            assert Case.from_json(case.to_json()) == case
            case.build().checked(**case.inputs())
        return len({str(case.fields) for case in found}), len({str((case.fields, case.shapes)) for case in found})

    assert max(kinds("torch-compile")) <= 3
    assert max(kinds("jax", "gradient")) <= 8
    options = {
        str([value for value in case.fields.values() if type(value) is not int])
        for case in drawn(ar.block(name), "torch", "forward", 60, 0)
    }
    least = 8 if len(options) > 2 else 0  # some blocks have next to nothing but sizes
    assert kinds("jax")[0] > least, "options vary where operations are compiled one by one"
    assert kinds("torch")[1] > min(40, len(planned(ar.block(name))))
    for engine in ("torch", "torch-compile") if "dropout" in ar.block(name).witnesses else ():
        share = sum(map(trains, drawn(ar.block(name), engine, "training", 12, 0)))
        assert share >= 9, "the others show that training changes nothing else"


def test_what_was_compiled_long_ago_makes_room() -> None:
    made: list[int] = []
    kept = Compiled(most=2)
    for key in (1, 2, 1, 3, 1, 2):
        assert kept.get(key, lambda key=key: made.append(key) or key) == key
    assert made == [1, 2, 3, 2]
    assert len(kept.kept) == 2


def test_a_worker_begins_names_anew_in_every_case() -> None:
    """For each name that a variable ever had TensorFlow keeps a kernel: workers of many cases grew and became slow."""
    keras = pytest.importorskip("keras")
    served = ar.backend("tensorflow")
    request = pickle.dumps((keras.layers.Dense, (1,)))
    first = task(request, served).name
    assert task(request).name != first, "else two layers of one model have one name"
    assert task(request, served).name == first
