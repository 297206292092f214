"""What holds for every block, found by discovery: adding a block adds it here without an edit."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attn_ref as ar
from attn_ref.catalogue import is_model
from attn_ref.check.cases import Case, Seeded, draw
from attn_ref.check.cases import cases as seeded_cases
from attn_ref.check.compare import compare
from attn_ref.check.gaps import gaps_for
from attn_ref.inputs import split_labels
from attn_ref.testing import cases
from attn_ref.weights import uniform

BLOCKS = sorted(ar.blocks())
ENGINES = ("torch", "tensorflow")  # Keras runs on one framework in a process; JAX has a worker of its own below

every_block = pytest.mark.parametrize("name", BLOCKS)
every_engine = pytest.mark.parametrize("engine", ENGINES)


@every_engine
@every_block
@given(data=st.data())
def test_mirror_agrees_at_every_tap(name: str, engine: str, data: Any) -> None:
    case = data.draw(cases(ar.block(name)))
    dtype = data.draw(st.sampled_from(["float64", "float32"]))
    outcome = compare(ar.backend(engine), case, dtype, gaps_for(engine, dtype))
    assert outcome.first is None, f"{outcome.first}: {outcome.detail}\n{outcome.case}"


#: blocks that no seed system is; the others' loops run on JAX in test_seeds.py every day, the models' parts as well
UNSEEDED = [n for n in ar.blocks() if n not in {row.block for row in ar.seeds().values()} and not is_model(ar.block(n))]


@pytest.mark.parametrize(
    "names", [UNSEEDED, pytest.param(list(ar.blocks()), marks=pytest.mark.deep)], ids=["some", "all"]
)
def test_jax_agrees_at_every_tap(names: list[str]) -> None:
    report = ar.check(*names, engines=["jax"], cases=1)
    bad = [f"{row.block} at {row.first_divergence}: {row.detail}" for row in report.rows if not row.ok]
    assert report.ok, "\n".join(bad)
    assert [row.block for row in report.rows] == names
    assert all(row.cases == 1 for row in report.rows)


@every_engine
@every_block
def test_mirror_takes_the_fields_of_its_block(name: str, engine: str) -> None:
    block = ar.block(name)(**ar.block(name).example)
    parameters = inspect.signature(type(ar.backend(engine).build(block)).__init__).parameters
    own = {k: p for k, p in parameters.items() if k != "self" and p.kind is p.KEYWORD_ONLY}
    fields = {field.name: field.default for field in dataclasses.fields(block)}
    want = {k: inspect.Parameter.empty if d is dataclasses.MISSING else d for k, d in fields.items()}
    assert {k: p.default for k, p in own.items()} == want


@every_engine
@every_block
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_weights_travel_bit_for_bit(name: str, engine: str, dtype: str) -> None:
    backend = ar.backend(engine)
    case = seeded_cases(ar.block(name), 3)[2]
    weights = case.weights(dtype)
    dumped = backend.dump(backend.load(backend.build(case.build(), dtype), weights))
    assert list(dumped) == list(weights)
    for key, value in weights.items():
        assert dumped[key].dtype == value.dtype
        assert dumped[key].tobytes() == np.ascontiguousarray(value).tobytes(), key


@every_engine
@every_block
def test_loading_lists_everything_that_is_wrong(name: str, engine: str) -> None:
    block = ar.block(name)(**ar.block(name).example)
    weights = block.init()
    backend = ar.backend(engine)
    with pytest.raises(ValueError, match="unexpected: stray"):
        backend.load(backend.build(block), {**weights, "stray": np.zeros(2)})
    if not weights:
        return
    first, last = next(iter(weights)), list(weights)[-1]
    with pytest.raises(ValueError, match=f"wrong shape: {first} should be .*, got \\(1, 99\\)"):
        backend.load(backend.build(block), {**weights, first: np.zeros((1, 99))})
    with pytest.raises(ValueError, match=f"missing: {last}"):
        backend.load(backend.build(block), {name: value for name, value in weights.items() if name != last})
    with pytest.raises(ValueError, match="float64, which float32 cannot hold exactly"):
        backend.load(backend.build(block, "float32"), weights)


def witnessed(cls: type[ar.Block]) -> Iterator[tuple[str, ar.Block, ar.Block]]:
    """(field, the block without its witness, the block with it)."""
    for field, value in cls.witnesses.items():
        others = {**value} if isinstance(value, dict) else {field: value}
        acting = others.pop(field)
        try:
            block = cls(**{**cls.example, **others})
        except ValueError:  # they only fit together, as the widths of a block and of those in it do
            yield field, cls(**cls.example), cls(**{**cls.example, **others, field: acting})
        else:
            yield field, block, dataclasses.replace(block, **{field: acting})


@every_block
def test_every_field_has_a_witness_that_acts(name: str) -> None:
    cls = ar.block(name)
    fields = {field.name for field in dataclasses.fields(cls)}
    assert set(cls.witnesses) == fields, "every field names a value that has an effect"
    for field, block, other in witnessed(cls):
        assert witness(block, other), f"{field} = {getattr(other, field)!r} changes nothing"


def witness(block: ar.Block, other: ar.Block) -> Case | None:
    """A case in which they differ: in parameters, or in a result on the same weights and inputs, in training too."""
    for seed in range(8):
        case = draw(block, Seeded("witness", seed), seed)
        if block.params() != other.params():
            return case
        weights, inputs = case.weights(), case.inputs()
        try:
            results = [b(weights, **inputs) for b in (block, other)]
        except ValueError:  # it changes what inputs are accepted, such as masks for so many heads
            inputs = {name: x for name, x in inputs.items() if not block.inputs[name].optional}
            first = block(weights, **inputs)
            try:
                results = [first, other(weights, **inputs)]
            except ValueError:  # or of what width: a block without parameters says so nowhere else
                return case
        if results[0].shape != results[1].shape or not np.array_equal(*results):
            return case
        if trained(block, case) != trained(other, case):  # a dropout, or the statistics of a batch norm
            return case
    return None


def is_slow(name: str) -> bool:
    """On TensorFlow: a model, or a block of grouped convolutions, which Keras compiles by XLA, shape by shape."""
    return is_model(ar.block(name)) or name == "SelectiveKernel"


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        pytest.param(name, engine, marks=[pytest.mark.deep] if engine == "tensorflow" and is_slow(name) else [])
        for name in BLOCKS
        for engine in ENGINES
    ],
)
def test_every_witness_acts_in_the_mirror(name: str, engine: str) -> None:
    """Fused and step by step the mirror is what the reference is with it, and that is not what it is without."""
    backend = ar.backend(engine)
    for field, block, other in witnessed(ar.block(name)):
        case = witness(block, other)
        assert case is not None
        try:
            other.checked(**case.inputs())
        except ValueError:  # other inputs: a case of its own
            case = draw(other, Seeded("witness", 0), 0)
        changed = dataclasses.replace(case, fields=other.fields())
        outcome = compare(backend, changed, "float64")
        assert outcome.first is None, f"{field}: {outcome.first}: {outcome.detail}\n{outcome.case}"
        if block.params() != other.params() or case.fields != block.fields():
            continue
        results = [b(case.weights(), **case.inputs()) for b in (block, other)]
        if results[0].shape == results[1].shape and trained(block, case) == trained(other, case):
            assert not np.allclose(*results, rtol=1e-9, atol=1e-9 * np.abs(results[0]).max()), (
                f"{field}: within rounding"
            )


def trained(block: ar.Block, case: Case) -> dict[str, bytes]:
    """Every tap's value in training; nothing where that is refused."""
    try:
        with ar.training(), ar.record() as taps:
            block(case.weights(), **case.inputs())
    except ValueError:
        return {}
    return {name: value.tobytes() for name, (value, _) in taps.items()}


def keeps(block: ar.Block, case: Case) -> list[str]:
    with ar.record() as taps:
        block(case.weights(), **case.inputs())
    return [name for name in taps if name.rpartition(".")[2].startswith("keep")]


@every_engine
@every_block
def test_training_agrees_under_the_same_keep_masks(name: str, engine: str) -> None:
    """Dropout replaced at its taps: the same values are dropped everywhere, so everything agrees."""
    cls, backend = ar.block(name), ar.backend(engine)
    drawn = [case for case in seeded_cases(cls, 60, seed=7) if keeps(case.build(), case)][:4]
    if not any("dropout" in field.name for field in dataclasses.fields(cls)):
        return
    assert drawn, f"no case of {name} has a dropout"
    for case in drawn:
        block, weights, inputs = case.build(), case.weights(), case.inputs()
        with ar.record() as taps:
            block(weights, **inputs)
        masks = {
            tap: ar.Tapped((uniform(taps[tap].value.shape, case.seed, tap) > -0.5) / 0.75, taps[tap].labels)
            for tap in keeps(block, case)
        }
        with ar.replace(masks) as want:
            wanted = block(weights, **inputs)
        got = backend.run(backend.load(backend.build(block), weights), inputs, replace=masks)
        np.testing.assert_allclose(got.output, wanted, rtol=0, atol=1e-12 * max(1.0, np.abs(wanted).max(initial=0)))
        assert list(got.taps) == list(want)


@every_block
def test_block_says_what_it_is(name: str) -> None:
    cls = ar.block(name)
    text = inspect.getmodule(cls).__doc__ or ""  # type: ignore[union-attr]
    for part in (".. math::", "Source:", "Differences:", ">>> "):
        assert part in text, f"the docstring of {name}'s file lacks {part!r}"
    from attn_ref.commands.show import about

    missing = [field.name for field in dataclasses.fields(cls) if not about(cls)[field.name]]
    assert not missing, f"no #: comment says what {', '.join(missing)} is"
    letters = {
        label
        for spec in cls.inputs.values()
        for axis in spec.axes
        if "{" not in axis
        for label in axis.strip("()").split()
    }
    for letter in letters:
        assert f"{letter} " in text, f"the legend does not explain axis {letter!r}"


@every_block
def test_cases_are_the_same_every_time_and_travel_as_json(name: str) -> None:
    first, again = seeded_cases(ar.block(name), 5), seeded_cases(ar.block(name), 5)
    assert first == again
    for case in first:
        back = Case.from_json(case.to_json())
        assert back == case
        for key, value in case.inputs().items():
            np.testing.assert_array_equal(back.inputs()[key], value)


@every_engine
@every_block
def test_nothing_of_a_probe_is_left_after_a_run(name: str, engine: str) -> None:
    case, backend = seeded_cases(ar.block(name), 1)[0], ar.backend(engine)
    layer = backend.load(backend.build(case.build()), case.weights())
    before = backend.run(layer, case.inputs(), observe=False)
    backend.run(layer, case.inputs(), observe=True)
    after = backend.run(layer, case.inputs(), observe=False)
    assert not before.taps
    assert not after.taps
    np.testing.assert_array_equal(before.output, after.output)


@every_block
def test_keras_mirror_lives_a_keras_layers_life(name: str, tmp_path: Any) -> None:
    """In a functional model: summary, a .keras file and back, a training step; sizes that are not fixed are 3."""
    ar.backend("tensorflow")
    import keras
    from attn_ref_keras.functional import functional, widths

    block = ar.block(name)(**ar.block(name).example)
    needed = [n for n, spec in block.inputs.items() if not spec.optional]
    model = functional(block, inputs=needed, sizes=dict.fromkeys(widths(block), 2))
    model.summary(print_fn=lambda text, **_: None)
    shapes = {n: tuple(3 if size is None else size for size in x.shape) for n, x in model.input.items()}
    given = {n: uniform(shape, 1, n).astype(model.input[n].dtype) for n, shape in shapes.items()}
    y = keras.ops.convert_to_numpy(model(given))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(given)), y)
    if before := [np.array(value) for value in model.get_weights()]:
        model.compile("sgd", "mse")
        model.fit(given, np.ones_like(y), verbose=0)
        assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


@every_block
def test_torch_mirror_lives_a_modules_life(name: str) -> None:
    """A state dict and back, a deep copy, an export."""
    import copy

    import torch
    from attn_ref_torch.program import turned, turned_back

    backend = ar.backend("torch")
    case = next(c for c in seeded_cases(ar.block(name), 40) if all(map(all, c.shapes.values())))
    layer = backend.load(backend.build(case.build()), case.weights())
    want = backend.run(layer, case.inputs(), observe=False).output
    other = backend.build(case.build())
    other.load_state_dict(layer.state_dict())
    inputs, block = case.inputs(), case.build()
    given = {key: torch.from_numpy(turned(value, block.inputs[key].axes)) for key, value in inputs.items()}
    axes = split_labels(block.output_axes)
    exported = torch.export.export(layer, (), given).module()
    for same in (other, copy.deepcopy(layer), exported):
        np.testing.assert_allclose(
            turned_back(same(**given).detach().numpy(), axes), want, rtol=0, atol=1e-13 * max(1, np.abs(want).max())
        )
