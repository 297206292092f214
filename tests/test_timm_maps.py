"""Maps of timm's layers: files of the real layers go to Keras, compute the same there, and come back bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_layer_maps import drawn, tensors
from test_port_requests import refused
from timm_layers import timm_layer

import attn_ref as ar
from attn_ref.port.believed import believed

#: what a file that is run and a file that is written for Keras may differ by in float64, of the largest value
BOUND = 1e-13
DTYPES = ("float64", "float32", "bfloat16", "float16")


def filled(layer: Any) -> Any:
    """No scale of it is 1, no bias 0, no variance below 0.1."""
    import torch

    with torch.no_grad():
        for n, (name, value) in enumerate(layer.state_dict().items()):
            if value.is_floating_point():
                number = drawn(tuple(value.shape), n)
                value.copy_(torch.from_numpy(np.abs(number) + 0.1 if name.endswith("running_var") else number))
    return layer.eval()


def there_and_back(layer: Any, dtype: str, name: str, told: dict[str, Any], folder: Path, x: np.ndarray) -> Any:
    """Port ``layer`` to Keras and back; hold Keras' own run of its file to timm's run, and the bits to the bits."""
    import torch
    from attn_ref_keras.functional import functional
    from safetensors.torch import save_file

    layer = filled(layer).to(getattr(torch, dtype))
    state = {key: value for key, value in layer.state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file(layer.state_dict(), folder / "a.safetensors")
    report = ar.port.convert(folder / "a.safetensors", folder / "b.weights.h5", from_=name, to="keras", set=told)
    assert {key.rpartition(".")[2] for key in report.plan.unused} <= {"num_batches_tracked"}
    ar.port.convert(folder / "b.weights.h5", folder / "c.safetensors", to=name)
    save_file(state, folder / "wanted.safetensors")
    assert tensors(folder / "c.safetensors") == tensors(folder / "wanted.safetensors")
    ar.backend("tensorflow")
    block, image = report.plan.block, x.ndim == 4
    (first,) = list(block.inputs)[:1]
    model = functional(block, "float64", inputs=(first,))
    model.load_weights(folder / "b.weights.h5")
    with torch.no_grad():
        given = torch.from_numpy(x)
        here = layer.double()(given.permute(0, 3, 1, 2) if image else given).numpy()
    here = here.transpose(0, 2, 3, 1) if image else here
    assert np.abs(here).max() > 1e-3
    np.testing.assert_allclose(np.asarray(model({first: x})), here, rtol=0, atol=BOUND * float(np.abs(here).max()))
    return report


def place(factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    ar.backend("tensorflow")
    pytest.importorskip("keras")
    return factory.mktemp("timm")


@settings(max_examples=3, deadline=None)
@given(
    channels=st.integers(2, 9), reduced=st.integers(1, 5), bias=st.booleans(),
    gate=st.sampled_from(("sigmoid", "hard_sigmoid")), dtype=st.sampled_from(DTYPES),
)  # fmt: skip
def test_squeeze_excite(
    channels: int, reduced: int, bias: bool, gate: str, dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = place(tmp_path_factory)
    kind = timm_layer("squeeze_excite").SqueezeExcite
    layer, x = kind(channels, rd_channels=reduced, bias=bias, gate_layer=gate), drawn((2, 4, 3, channels), 1)
    report = there_and_back(layer, dtype, "timm.SqueezeExcite", {"gate": gate}, folder, x)
    assert report.plan.block == ar.SqueezeExcitation(
        channels=channels, reduced_width=reduced, use_bias=bias, gate=gate
    )  # fmt: skip
    assert believed(report.plan) == {"gate": "--set"}


@settings(max_examples=3, deadline=None)
@given(
    channels=st.integers(7, 12), size=st.sampled_from((3, 5, 7)), circular=st.booleans(), dtype=st.sampled_from(DTYPES)
)
def test_eca(
    channels: int, size: int, circular: bool, dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:  # fmt: skip
    folder, layers = place(tmp_path_factory), timm_layer("eca")
    layer = (layers.CecaModule if circular else layers.EcaModule)(kernel_size=size)
    told, x = {"channels": channels, "circular": circular}, drawn((2, 4, 3, channels), 1)
    report = there_and_back(layer, dtype, "timm.EcaModule", told, folder, x)
    assert report.plan.block.kernel_size == size


@settings(max_examples=3, deadline=None)
@given(
    channels=st.integers(2, 9), reduced=st.integers(1, 5), bias=st.booleans(), size=st.sampled_from((3, 7)),
    dtype=st.sampled_from(DTYPES),
)  # fmt: skip
def test_cbam(
    channels: int, reduced: int, bias: bool, size: int, dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = place(tmp_path_factory)
    kind = timm_layer("cbam").CbamModule
    layer = kind(channels, rd_channels=reduced, mlp_bias=bias, spatial_kernel_size=size)
    report = there_and_back(layer, dtype, "timm.CbamModule", {}, folder, drawn((2, 4, 3, channels), 1))
    assert believed(report.plan) == {}, "all that it can mean is in its shapes"


@settings(max_examples=3, deadline=None)
@given(
    channels=st.integers(2, 9), inner=st.integers(1, 5), scaled=st.booleans(), dtype=st.sampled_from(DTYPES)
)  # fmt: skip
def test_non_local(
    channels: int, inner: int, scaled: bool, dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:  # fmt: skip
    folder = place(tmp_path_factory)
    layer = timm_layer("non_local_attn").NonLocalAttn(channels, use_scale=scaled, rd_channels=inner)
    told: dict[str, Any] = {"scale": "input" if scaled else None}
    there_and_back(layer, dtype, "timm.NonLocalAttn", told, folder, drawn((2, 4, 3, channels), 1))


@settings(max_examples=3, deadline=None)
@given(
    heads=st.integers(3, 4), head_width=st.sampled_from((4, 5)), output=st.sampled_from((None, 7)), bias=st.booleans(),
    output_bias=st.booleans(), norm=st.sampled_from((None, "layer", "rms")), dtype=st.sampled_from(DTYPES),
)  # fmt: skip
def test_attention(
    heads: int, head_width: int, output: int | None, bias: bool, output_bias: bool, norm: str | None, dtype: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    folder, layers = place(tmp_path_factory), timm_layer("norm")
    kinds, width = {"layer": layers.LayerNorm, "rms": layers.RmsNorm}, heads * head_width
    layer = timm_layer("attention").Attention(
        width, heads, dim_out=output, qkv_bias=bias, proj_bias=output_bias, qk_norm=norm is not None,
        norm_layer=kinds.get(norm or ""),
    )  # fmt: skip
    report = there_and_back(layer, dtype, "timm.Attention", {"num_heads": heads}, folder, drawn((2, 5, width), 1))
    assert report.plan.block.qk_norm == norm
    assert set(believed(report.plan)) == {"qk_norm_eps" if norm else "num_heads"}, "a norm's shape proves the heads"


def saved(layer: Any, path: Path) -> Path:
    from safetensors.torch import save_file

    save_file(filled(layer).state_dict(), path)
    return path


def test_what_no_block_expresses_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    place_, target = tmp_path / "a.safetensors", tmp_path / "b.npz"
    attention, norm = timm_layer("attention").Attention, timm_layer("norm").LayerNorm
    told = ["--set", "num_heads=2"]
    saved(attention(8, 2, gated=True), place_)
    refused(capsys, ["unexpected: gate.weight (8, 8)"], "port", place_, target, "--from", "timm.Attention", *told)
    saved(attention(8, 2, scale_norm=True, norm_layer=norm), place_)
    texts = ["unexpected: norm.weight (8)", "unexpected: norm.bias (8)"]
    refused(capsys, texts, "port", place_, target, "--from", "timm.Attention", *told)
    saved(timm_layer("squeeze_excite").SqueezeExcite(8, norm_layer=torch.nn.BatchNorm2d), place_)
    texts = ["unexpected: bn.weight (8)"]
    refused(capsys, texts, "port", place_, target, "--from", "timm.SqueezeExcite", "--set", "gate=sigmoid")
    saved(timm_layer("cbam").LightCbamModule(8), place_)
    texts = ["wrong shape: spatial.conv.conv.weight should be (1, 2, 7, 7), got (1, 1, 7, 7)"]
    refused(capsys, texts, "port", place_, target, "--from", "timm.CbamModule")
    saved(timm_layer("eca").EcaModule(8, use_mlp=True), place_)
    texts = ["unexpected: conv2.weight"]
    told = ["--set", "channels=8", "--set", "circular=false"]
    refused(capsys, texts, "port", place_, target, "--from", "timm.EcaModule", *told)


def test_what_the_layer_cannot_mean_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuses(block: Any, name: str, line: str) -> None:
        told = {"map": "canonical", **block.as_data()}
        ar.port.write(tmp_path / "w.npz", block.init(), told)
        texts = [f"files of map {name} cannot mean {line}"]
        refused(capsys, texts, "port", tmp_path / "w.npz", tmp_path / "a.safetensors", "--to", name)

    refuses(ar.MultiHeadAttention(width=8, num_heads=2, num_kv_heads=1), "timm.Attention", "num_kv_heads = 1")
    refuses(ar.MultiHeadAttention(width=8, num_heads=2, softcap=3.0), "timm.Attention", "softcap = 3.0")
    refuses(ar.CBAM(channels=8, reduction=2), "timm.CbamModule", "batch_norm = False (only True)")
    refuses(ar.NonLocal(channels=8, batch_norm=True, sub_sample=True), "timm.NonLocalAttn", "sub_sample = True")
    refuses(ar.NonLocal(channels=8, batch_norm=True, scale="inner"), "timm.NonLocalAttn", "scale = 'inner'")


@pytest.mark.deep
def test_both_ends_are_run_with_taps(tmp_path: Path) -> None:
    layers = {
        "timm.SqueezeExcite": (timm_layer("squeeze_excite").SqueezeExcite(8), {"gate": "sigmoid"}, 6),
        "timm.EcaModule": (timm_layer("eca").EcaModule(8), {"channels": 8, "circular": False}, 4),
        "timm.CbamModule": (timm_layer("cbam").CbamModule(8, rd_channels=3), {}, 7),
        "timm.NonLocalAttn": (timm_layer("non_local_attn").NonLocalAttn(8), {"scale": "input"}, 4),
        "timm.Attention": (timm_layer("attention").Attention(8, 2), {"num_heads": 2}, 5),
    }
    for name, (layer, told, taps) in layers.items():
        source, there, back = (tmp_path / f"{name}.{end}" for end in ("safetensors", "weights.h5", "back.safetensors"))
        saved(layer, source)
        for report in (
            ar.port.convert(source, there, from_=name, set=told, verify=True),
            ar.port.convert(there, back, to=name, verify=True),
        ):
            assert report.proof
            assert report.ok, report.to_json()["proof"]
        assert report.proof
        assert len(report.proof.ends[1].rows) == taps, name
        assert "of timm" in report.proof.ends[1].by
        print(name, *(f"{end.ratio:.2f} σ" for end in report.proof.ends))
