"""The names and layouts that our own maps derive are those that the frameworks themselves write, for every block."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import attn_ref as ar
from attn_ref.weights import cast


def small_and_large(cls: type[ar.Block]) -> Iterator[ar.Block]:
    """A block once small, and once with all its witnesses; with each by itself where they contradict each other."""
    parts = [value if isinstance(value, dict) else {name: value} for name, value in cls.witnesses.items()]
    together: dict[str, Any] = {name: value for part in parts for name, value in part.items()}
    yield cls.build(cls.example)
    try:
        yield cls.build({**cls.example, **together})
    except ValueError:
        yield from (cls.build({**cls.example, **part}) for part in parts)


def by_parameters() -> Iterator[Any]:
    """Of each block those that are first with their parameters, by name and rank; the deep tests have all."""
    seen = set()
    for block in (block for cls in ar.blocks().values() for block in small_and_large(cls)):
        if params := block.params():
            key = (type(block), *((name, len(param.shape)) for name, param in params.items()))
            marks = [pytest.mark.deep] if key in seen else []
            seen.add(key)
            yield pytest.param(block, marks=marks, id=type(block).__name__)


@pytest.fixture(params=by_parameters())
def canonical(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ar.Block, dict[str, np.ndarray], Path]:
    """A block, float32 weights, and a file with them."""
    block: ar.Block = request.param  # in safetensors, for which no process is started
    weights, path = cast(block.init(seed=1), "float32"), tmp_path / "w.safetensors"
    ar.port.write(path, weights, {"map": "canonical", "block": type(block).__name__, "fields": block.fields()})
    return block, weights, path


def datasets(path: Path) -> dict[str, tuple[Any, bytes]]:
    """Path -> (dtype, shape) and bytes of all datasets of an HDF5 file."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda n, x: found.update({n: ((x.dtype, x.shape), x[()].tobytes())} if hasattr(x, "dtype") else {})
        )
    return found


@cache
def counted_up(cls: type[ar.Block]) -> None:
    """Have a model before, so that nothing depends on names that Keras counts up."""
    from attn_ref_keras.functional import functional, widths

    block = cls.build(cls.example)
    functional(block, sizes=dict.fromkeys(widths(block), 2))


def test_keras_writes_the_same_and_loads_ours(canonical: Any, tmp_path: Path) -> None:
    block, weights, path = canonical
    engine = ar.backend("tensorflow")
    import keras
    from attn_ref_keras.functional import functional, widths

    ar.port.convert(path, tmp_path / "ours.weights.h5")
    counted_up(type(block))
    model = functional(block, sizes=dict.fromkeys(widths(block), 2))
    layer = engine.load(model.layers[-1], weights)
    model.save_weights(tmp_path / "theirs.weights.h5")
    assert datasets(tmp_path / "ours.weights.h5") == datasets(tmp_path / "theirs.weights.h5")
    keras.saving.save_weights(layer, tmp_path / "bare.weights.h5")
    prefix = f"layers/{layer.name}/"
    bare = {key.removeprefix(prefix): value for key, value in datasets(tmp_path / "ours.weights.h5").items()}
    assert bare == datasets(tmp_path / "bare.weights.h5")
    told = {**block.fields(), "block": type(block).__name__}  # and back, from files that say nothing about themselves
    for name in ("theirs", "bare"):
        ar.port.convert(tmp_path / f"{name}.weights.h5", tmp_path / "back.safetensors", to="canonical", set=told)
        with ar.port.read(tmp_path / "back.safetensors") as back:
            assert {key: value.tobytes() for key, value in back.items()} == {k: v.tobytes() for k, v in weights.items()}
    model.load_weights(tmp_path / "ours.weights.h5")
    assert all(np.array_equal(value, weights[name]) for name, value in engine.dump(layer).items())


def test_torch_has_the_same(canonical: Any, tmp_path: Path) -> None:
    block, weights, path = canonical
    from safetensors.torch import load_file, save_file

    engine = ar.backend("torch")
    ar.port.convert(path, tmp_path / "ours.safetensors", to="torch")
    state = engine.load(engine.build(block, "float32"), weights).state_dict()
    theirs = {name: value for name, value in state.items() if not name.endswith(".num_batches_tracked")}
    ours = load_file(tmp_path / "ours.safetensors")
    assert list(ours) == list(ours | theirs)
    assert all(ours[name].numpy().tobytes() == value.numpy().tobytes() for name, value in theirs.items())
    layer = engine.build(block, "float32")
    layer.load_state_dict(ours, strict=True)
    assert all(np.array_equal(value, weights[name]) for name, value in engine.dump(layer).items())
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "theirs.safetensors")
    told = {**block.fields(), "block": type(block).__name__}  # and back, from a file that says nothing about itself
    back = ar.port.convert(
        tmp_path / "theirs.safetensors", tmp_path / "back.safetensors", from_="torch", to="canonical", set=told
    )
    assert set(back.plan.unused) == state.keys() - theirs.keys()
    with ar.port.read(tmp_path / "back.safetensors") as arrived:
        assert {name: x.tobytes() for name, x in arrived.items()} == {n: x.tobytes() for n, x in weights.items()}


FRESH = """
import sys, numpy as np
import attn_ref as ar
engine = ar.backend("tensorflow")
from attn_ref_keras.functional import functional
with ar.port.read(sys.argv[1]) as checkpoint:
    block = checkpoint.block
model = functional(block)
model.load_weights(sys.argv[1])
ids = np.arange(6).reshape(2, 3)
np.save(sys.argv[2], model({"token_ids": ids, "padding_mask": ids > -1, "segment_ids": None}))
model.save(sys.argv[3])
again = __import__("keras").saving.load_model(sys.argv[3])
assert np.array_equal(again({"token_ids": ids, "padding_mask": None, "segment_ids": ids % 2}).shape, (2, 8))
"""


def test_a_fresh_process_loads_the_file_and_gives_the_same(tmp_path: Path) -> None:
    block = ar.TextEncoder(**{**ar.TextEncoder.example, "pooling": "mean", "dropout": 0.1})
    weights = cast(block.init(), "float32")
    told = {"map": "canonical", "block": "TextEncoder", "fields": block.fields()}
    ar.port.write(tmp_path / "w.npz", weights, told)
    ar.port.convert(tmp_path / "w.npz", tmp_path / "w.weights.h5")
    files = [tmp_path / "w.weights.h5", tmp_path / "y.npy", tmp_path / "w.keras"]
    subprocess.run([sys.executable, "-c", FRESH, *map(str, files)], check=True, capture_output=True)
    wanted = block(cast(weights, "float64"), np.arange(6).reshape(2, 3), np.ones((2, 3), bool))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted, rtol=0, atol=2e-6)
    ar.port.convert(tmp_path / "w.keras", tmp_path / "back.npz", set={**block.fields(), "block": "TextEncoder"})
    with ar.port.read(tmp_path / "back.npz") as back:
        assert all(np.array_equal(back[name], weights[name]) for name in weights)


def test_the_functional_model_takes_the_inputs_one_asks_for() -> None:
    ar.backend("tensorflow")
    from attn_ref_keras.functional import functional

    block = ar.MultiHeadAttention(width=8, num_heads=2, key_width=6)
    x, y = np.ones((2, 3, 8), "f4"), np.ones((2, 5, 6), "f4")
    whole = functional(block)({**dict.fromkeys(block.inputs), "query": x, "key": y})
    assert np.shape(whole) == (2, 3, 8)
    assert list(functional(block, inputs=("query", "key")).input) == ["query", "key"]
    with pytest.raises(ValueError, match="MultiHeadAttention needs the input query"):
        functional(block, inputs=("key",))
    with pytest.raises(ValueError, match="has no input keys; it has query, key, value"):
        functional(block, inputs=("query", "keys"))


def test_widths_that_no_field_fixes_are_asked_for() -> None:
    ar.backend("tensorflow")
    from attn_ref_keras.functional import functional

    block = ar.ScaledDotProductAttention()
    with pytest.raises(ValueError, match=r"does not fix g, r, d, e; give sizes=\{'g': …, 'r': …, 'd': …, 'e': …\}"):
        functional(block)
    model = functional(block, inputs=("query", "key", "value"), sizes={"g": 2, "r": 1, "d": 4, "e": 6})
    query, value = np.ones((1, 2, 3, 4), "f4"), np.ones((1, 2, 5, 6), "f4")
    assert np.shape(model({"query": query, "key": value[..., :4], "value": value})) == (1, 2, 3, 6)
