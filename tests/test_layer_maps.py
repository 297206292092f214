"""Maps of single layers: files of the real layers go to the other library, compute the same, and come back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_port import command
from test_port_layouts import datasets
from test_port_requests import refused

import attn_ref as ar
from attn_ref.port.believed import believed

TORCH, KERAS = "torch.MultiheadAttention", "keras.MultiHeadAttention"
#: whose root float32 holds, so that Keras' scale is exact in float64
HEAD_WIDTHS = (4, 16)


def engines() -> tuple[Any, Any]:
    """(torch, keras), Keras on TensorFlow."""
    torch = pytest.importorskip("torch")
    ar.backend("tensorflow")
    return torch, pytest.importorskip("keras")


def drawn(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def torch_layer(dtype: str, *sizes: int, **options: Any) -> Any:
    """A layer of torch's own, no bias of which is 0."""
    torch, _ = engines()
    layer = torch.nn.MultiheadAttention(*sizes, batch_first=True, **options).eval()
    with torch.no_grad():
        for n, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.from_numpy(drawn(tuple(parameter.shape), n)))
    return layer.to(getattr(torch, dtype))


def keras_layer(dtype: str, widths: Mapping[str, int], *sizes: int, **options: Any) -> tuple[Any, Any]:
    """A layer of Keras' own and a model with it alone, no bias of which is 0."""
    _, keras = engines()
    layer = keras.layers.MultiHeadAttention(*sizes, dtype=dtype, **options)
    inputs = {name: keras.Input((None, width), dtype=dtype, name=name) for name, width in widths.items()}
    model = keras.Model(inputs, layer(inputs["query"], inputs["value"], key=inputs["key"]))
    for n, variable in enumerate(layer.weights):
        variable.assign(drawn(tuple(variable.shape), n))
    return layer, model


def tensors(path: Path) -> dict[str, tuple[Any, tuple[int, ...], bytes]]:
    """Name → dtype, shape and bytes, read by torch."""
    from safetensors.torch import load_file

    state = load_file(path)
    torch, _ = engines()
    return {k: (v.dtype, tuple(v.shape), v.view(torch.uint8).numpy().tobytes()) for k, v in state.items()}


def agree(layer: Any, model: Any, widths: Mapping[str, int]) -> None:
    """Do a layer of torch's and a model of Keras' give the same in float64?"""
    torch, _ = engines()
    x = {name: drawn((2, 5 if name == "query" else 7, width), width) for name, width in widths.items()}
    hides = drawn((2, 7), 3) > 0.8
    hides[:, 0] = False
    with torch.no_grad():
        here, _ = layer.double()(*map(torch.from_numpy, x.values()), key_padding_mask=torch.from_numpy(hides))
    attention = model.layers[-1]
    there = attention(x["query"], x["value"], key=x["key"], attention_mask=~hides[:, None, :])
    assert np.abs(here.numpy()).max() > 0.1
    np.testing.assert_allclose(np.asarray(there), here.numpy(), rtol=0, atol=1e-12 * float(here.abs().max()))


def double(path: Path, widths: Mapping[str, int], *sizes: int, **options: Any) -> Any:
    """A model in float64 with the weights in a file."""
    _, model = keras_layer("float64", widths, *sizes, **options)
    model.load_weights(path)
    return model


@settings(max_examples=3, deadline=None)
@given(
    heads=st.integers(2, 5), head_width=st.sampled_from(HEAD_WIDTHS), key=st.sampled_from((None, 7)),
    value=st.sampled_from((None, 9)), bias=st.booleans(), dtype=st.sampled_from(("float64", "float32", "bfloat16")),
)  # fmt: skip
def test_torch_to_keras_and_back(
    heads: int, head_width: int, key: int | None, value: int | None, bias: bool, dtype: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    from safetensors.torch import save_file

    folder, width = tmp_path_factory.mktemp("layer"), heads * head_width
    layer = torch_layer(dtype, width, heads, kdim=key, vdim=value, bias=bias)
    save_file(layer.state_dict(), folder / "a.safetensors")
    there, back = folder / "b.weights.h5", folder / "c.safetensors"
    told = {"num_heads": heads}
    report = ar.port.convert(folder / "a.safetensors", there, from_=TORCH, to=KERAS, set=told)
    assert not report.plan.unused
    ar.port.convert(there, back, from_=KERAS, to=TORCH)  # Keras' shapes say how many heads
    assert tensors(back) == tensors(folder / "a.safetensors")
    widths = {"query": width, "key": key or width, "value": value or width}
    agree(layer, double(there, widths, heads, head_width, use_bias=bias), widths)


@settings(max_examples=3, deadline=None)
@given(
    heads=st.integers(2, 5), head_width=st.sampled_from(HEAD_WIDTHS), key=st.sampled_from((None, 7)),
    value=st.sampled_from((None, 9)), bias=st.booleans(), dtype=st.sampled_from(("float64", "float32")),
)  # fmt: skip
def test_keras_to_torch_and_back(
    heads: int, head_width: int, key: int | None, value: int | None, bias: bool, dtype: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    torch, _ = engines()
    from safetensors.torch import load_file

    folder, width = tmp_path_factory.mktemp("layer"), heads * head_width
    widths = {"query": width, "key": key or width, "value": value or width}
    _, model = keras_layer(dtype, widths, heads, head_width, use_bias=bias)
    model.save_weights(folder / "a.weights.h5")
    report = ar.port.convert(folder / "a.weights.h5", folder / "b.safetensors", to=TORCH)  # its names fit no other map
    assert report.plan.from_map.name == KERAS
    ar.port.convert(folder / "b.safetensors", folder / "c.weights.h5", to=KERAS, set={"num_heads": heads})
    assert datasets(folder / "c.weights.h5") == datasets(folder / "a.weights.h5")
    layer = torch.nn.MultiheadAttention(width, heads, kdim=key, vdim=value, bias=bias, batch_first=True).eval().double()
    layer.load_state_dict(load_file(folder / "b.safetensors"), strict=True)
    agree(layer, double(folder / "a.weights.h5", widths, heads, head_width, use_bias=bias), widths)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same kind of layer in files of both libraries, 3 heads of width 4."""
    from safetensors.torch import save_file

    place = tmp_path_factory.mktemp("layers")
    save_file(torch_layer("float32", 12, 3).state_dict(), place / "torch.safetensors")
    layer, model = keras_layer("float32", dict.fromkeys(("query", "key", "value"), 12), 3, 4)
    model.save_weights(place / "keras.weights.h5")
    engines()[1].saving.save_weights(layer, place / "bare.weights.h5")
    return place


def test_a_layer_saved_alone_and_one_of_several(folder: Path, tmp_path: Path) -> None:
    _, keras = engines()
    ar.port.convert(folder / "bare.weights.h5", tmp_path / "a.safetensors", to=TORCH)
    ar.port.convert(folder / "keras.weights.h5", tmp_path / "b.safetensors", to=TORCH)
    assert tensors(tmp_path / "a.safetensors") == tensors(tmp_path / "b.safetensors")
    x = keras.Input((5, 12))
    layers = [keras.layers.MultiHeadAttention(2, 6), keras.layers.MultiHeadAttention(3, 4)]
    model = keras.Model(x, layers[1](layers[0](x, x), x))
    model.save_weights(tmp_path / "two.weights.h5")
    prefix = "layers/multi_head_attention_1/"
    report = ar.port.convert(tmp_path / "two.weights.h5", tmp_path / "c.safetensors", to=TORCH, prefix=prefix)
    assert report.plan.block == ar.MultiHeadAttention(
        width=12, num_heads=3, key_width=12, value_width=12, output_width=12, head_width=4, value_head_width=4
    )
    packed = np.frombuffer(tensors(tmp_path / "c.safetensors")["in_proj_weight"][2], "f4").reshape(36, 12)
    kernels = [np.asarray(getattr(layers[1], f"_{name}_dense").kernel) for name in ("query", "key", "value")]
    assert np.array_equal(packed, np.concatenate([kernel.reshape(12, 12).T for kernel in kernels]))


def test_only_what_neither_shapes_nor_the_layer_tell_is_believed(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    plan = ar.port.plan(folder / "torch.safetensors", target, to=TORCH, set={"num_heads": 3})
    assert believed(plan) == {"num_heads": "--set"}
    assert believed(ar.port.plan(folder / "keras.weights.h5", target, to=TORCH)) == {}


def changed(folder: Path, target: Path, edit: Any) -> Path:
    from safetensors.torch import load_file, save_file

    save_file(edit(load_file(folder / "torch.safetensors")), target)
    return target


def test_a_layer_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    torch, _ = engines()
    whole, target = folder / "torch.safetensors", tmp_path / "b.weights.h5"
    there = ["--from", TORCH, "--to", KERAS]
    refused(capsys, ["num_heads cannot be told", "give --set num_heads=…"], "port", whole, target, *there)
    texts = ["num_heads = 5 does not divide width = 12"]
    refused(capsys, texts, "port", whole, target, *there, "--set", "num_heads=5")
    texts = ["num_heads is 2 by --set, and 3 by the shape of layers/multi_head_attention/query_dense/vars/0"]
    refused(capsys, texts, "port", folder / "keras.weights.h5", tmp_path / "b.safetensors", "--to", TORCH,
            "--set", "num_heads=2")  # fmt: skip
    extra = {"bias_k": torch.ones(1, 1, 12), "bias_v": torch.ones(1, 1, 12)}
    odd = changed(folder, tmp_path / "odd.safetensors", lambda t: {k: t[k] for k in t if k != "in_proj_bias"} | extra)
    odd = changed(folder, tmp_path / "odd.safetensors", lambda t: {k: t[k] for k in t if k != "in_proj_bias"})
    texts = [f"files of map {TORCH} cannot mean output_bias = True (only use_bias)"]
    refused(capsys, texts, "port", odd, target, *there, "--set", "num_heads=3")
    texts = ["unexpected: bias_k (1, 1, 12)", "unexpected: bias_v (1, 1, 12)"]
    surplus = changed(folder, tmp_path / "surplus.safetensors", lambda t: t | extra)
    refused(capsys, texts, "port", surplus, target, *there, "--set", "num_heads=3")
    less = changed(folder, tmp_path / "less.safetensors", lambda t: {k: v for k, v in t.items() if "weight" not in k})
    texts = ["width", "cannot be told from shapes"]
    refused(capsys, texts, "port", less, target, *there, "--set", "num_heads=3")
    cut = changed(folder, tmp_path / "cut.safetensors", lambda t: t | {"in_proj_weight": t["in_proj_weight"][:35]})
    texts = ["wrong shape: in_proj_weight should be (36, 12), got (35, 12)"]
    refused(capsys, texts, "port", cut, target, *there, "--set", "num_heads=3")


def test_what_the_other_layer_cannot_mean_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, model = keras_layer("float32", dict.fromkeys(("query", "key", "value"), 12), 3, 5, value_dim=4, output_shape=7)
    model.save_weights(tmp_path / "a.weights.h5")
    lines = ["head_width = 5 (only width / num_heads)", "output_width = 7 (only width)"]
    texts = [f"files of map {TORCH} cannot mean {line}" for line in lines]
    refused(capsys, texts, "port", tmp_path / "a.weights.h5", tmp_path / "b.safetensors", "--to", TORCH)


def test_parts_of_several_dtypes_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import h5py

    mixed = tmp_path / "mixed.weights.h5"
    mixed.write_bytes((folder / "keras.weights.h5").read_bytes())
    with h5py.File(mixed, "r+") as file:
        layer = file["layers/multi_head_attention/key_dense/vars"]
        value = layer["0"][()].astype("f8")
        del layer["0"]
        layer["0"] = value
    texts = ["in_proj_weight is one tensor, and its parts are", "layers/multi_head_attention/key_dense/vars/0 float64"]
    refused(capsys, texts, "port", mixed, tmp_path / "b.safetensors", "--to", TORCH)


@pytest.mark.deep
def test_both_ends_are_run_by_their_own_layers(folder: Path, tmp_path: Path) -> None:
    target, back = tmp_path / "b.weights.h5", tmp_path / "c.safetensors"
    told = ["--from", TORCH, "--to", KERAS, "--set", "num_heads=3", "--verify"]
    assert command("port", folder / "torch.safetensors", target, *told) == 0
    report = ar.port.convert(target, back, to=TORCH, verify=True)
    assert report.proof
    assert report.ok, report.to_json()["proof"]
    assert [[row.tap for row in end.rows] for end in report.proof.ends] == [["output"], ["output"]]
    assert tensors(back) == tensors(folder / "torch.safetensors")


@settings(max_examples=3, deadline=None)
@given(
    groups=st.integers(1, 3), repeats=st.integers(1, 3), head_width=st.sampled_from(HEAD_WIDTHS), bias=st.booleans(),
    dtype=st.sampled_from(("float64", "float32")),
)  # fmt: skip
def test_grouped_queries_go_to_torch_and_back(
    groups: int, repeats: int, head_width: int, bias: bool, dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """There is no such layer in torch: the mirror stands for it."""
    _, keras = engines()
    from safetensors.torch import load_file

    folder, width = tmp_path_factory.mktemp("layer"), 10
    layer = keras.layers.GroupQueryAttention(head_width, groups * repeats, groups, use_bias=bias, dtype=dtype)
    x = keras.Input((None, width), dtype=dtype)
    model = keras.Model(x, layer(x, x))
    for n, variable in enumerate(layer.weights):
        variable.assign(drawn(tuple(variable.shape), n))
    model.save_weights(folder / "a.weights.h5")
    report = ar.port.convert(folder / "a.weights.h5", folder / "b.safetensors", to="torch")
    assert report.plan.from_map.name == "keras.GroupedQueryAttention"
    assert believed(report.plan) == {}
    ar.port.convert(folder / "b.safetensors", folder / "c.weights.h5", to="keras.GroupedQueryAttention")
    assert datasets(folder / "c.weights.h5") == datasets(folder / "a.weights.h5")
    engine, given = ar.backend("torch"), {"query": drawn((2, 5, width), 1)}
    mirror = engine.build(report.plan.block, "float64")
    mirror.load_state_dict(load_file(folder / "b.safetensors"), strict=True)
    here = engine.run(mirror, given).output
    wide = keras.layers.GroupQueryAttention(head_width, groups * repeats, groups, use_bias=bias, dtype="float64")
    y = keras.Input((None, width), dtype="float64")
    double = keras.Model(y, wide(y, y))
    double.load_weights(folder / "a.weights.h5")
    np.testing.assert_allclose(np.asarray(double(given["query"])), here, rtol=0, atol=1e-12 * float(np.abs(here).max()))


def encoder(**options: Any) -> Any:
    torch, _ = engines()
    layer = torch.nn.TransformerEncoderLayer(12, 3, dim_feedforward=20, batch_first=True, dropout=0.0, **options)
    with torch.no_grad():
        for n, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.from_numpy(drawn(tuple(parameter.shape), n)))
    return layer.eval()


@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_layer_goes_to_keras_and_back(norm_first: bool, tmp_path: Path) -> None:
    torch, _ = engines()
    from attn_ref_keras.functional import functional
    from safetensors.torch import save_file

    layer = encoder(norm_first=norm_first, activation="gelu", layer_norm_eps=1e-3)
    save_file(layer.state_dict(), tmp_path / "a.safetensors")
    told = {"num_heads": 3, "norm_first": norm_first, "activation": "gelu", "eps": 1e-3}
    report = ar.port.convert(tmp_path / "a.safetensors", tmp_path / "b.weights.h5", set=told)
    assert believed(report.plan) == dict.fromkeys(("num_heads", "activation", "norm_first", "eps"), "--set")
    ar.port.convert(tmp_path / "b.weights.h5", tmp_path / "c.safetensors", to="torch.TransformerEncoderLayer")
    assert tensors(tmp_path / "c.safetensors") == tensors(tmp_path / "a.safetensors")
    x = drawn((2, 5, 12), 1)
    model = functional(report.plan.block, "float64", inputs=("x",))
    model.load_weights(tmp_path / "b.weights.h5")
    with torch.no_grad():
        there = layer.double()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(np.asarray(model({"x": x})), there, rtol=0, atol=1e-12 * float(np.abs(there).max()))


def test_what_names_of_an_encoder_layer_do_not_say_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    from safetensors.torch import save_file

    save_file(encoder().state_dict(), tmp_path / "a.safetensors")
    texts = ["give --set num_heads=… --set activation=… --set norm_first=… --set eps=…"]
    refused(capsys, texts, "port", tmp_path / "a.safetensors", tmp_path / "b.weights.h5", "--to", "keras")


@pytest.mark.deep
def test_an_encoder_layer_and_grouped_queries_are_run_by_their_own_layers(tmp_path: Path) -> None:
    _, keras = engines()
    from safetensors.torch import save_file

    save_file(encoder().state_dict(), tmp_path / "a.safetensors")
    told = {"num_heads": 3, "norm_first": False, "activation": "relu", "eps": 1e-5}
    report = ar.port.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", to="torch", set=told, verify=True)
    assert report.proof
    assert report.ok, report.to_json()["proof"]
    assert "TransformerEncoderLayer of torch" in report.proof.ends[0].by
    layer = keras.layers.GroupQueryAttention(8, 6, 2)  # a scale that float32 does not hold
    x = keras.Input((None, 12))
    keras.Model(x, layer(x, x)).save_weights(tmp_path / "q.weights.h5")
    report = ar.port.convert(tmp_path / "q.weights.h5", tmp_path / "r.safetensors", to="torch", verify=True)
    assert report.proof
    assert report.ok, report.to_json()["proof"]
    assert "GroupedQueryAttention of Keras" in report.proof.ends[0].by


@pytest.mark.parametrize(("heads", "right"), [(3, True), (2, False)])
def test_an_example_of_the_real_layer_decides_its_heads(heads: int, right: bool, tmp_path: Path) -> None:
    torch, _ = engines()
    from safetensors.torch import save_file

    layer, x = torch_layer("float64", 12, 3), drawn((2, 5, 12), 1)
    save_file(layer.state_dict(), tmp_path / "a.safetensors")
    with torch.no_grad():
        output, _ = layer(*[torch.from_numpy(x)] * 3)
    np.savez(tmp_path / "example.npz", query=x, output=output.numpy())
    target, told = tmp_path / "b.weights.h5", {"num_heads": heads}
    report = ar.port.convert(
        tmp_path / "a.safetensors", target, to=KERAS, set=told, example=tmp_path / "example.npz"
    )  # fmt: skip
    assert report.proof
    assert (report.ok, target.exists()) == (right, right)
    assert not right or report.proof.believed == {}
