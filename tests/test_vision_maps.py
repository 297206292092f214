"""Vision models of transformers and timm in Keras and back: run by their own libraries, tap by tap, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import tiny_vit
from hypothesis import given, settings
from hypothesis import strategies as st
from test_port_requests import refused
from timm_layers import timm_module

import attn_ref as ar

pytestmark = pytest.mark.xdist_group("hugging face")

#: 2 × 2 patches of 4 × 4 pixels
SIZES = {
    "image_size": 8, "patch_size": 4, "num_channels": 2, "hidden_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 3,
}  # fmt: skip
#: map -> configuration, its options, options of the model, what is left out, taps that its own run has
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any], set[str], int]] = {
    "hf.DeiTModel": ("DeiTConfig", {"intermediate_size": 20}, {}, {"pooler.dense.weight", "pooler.dense.bias"}, 29),
    "hf.DeiTForImageClassification": ("DeiTConfig", {"intermediate_size": 20, "num_labels": 5}, {}, set(), 30),
    "hf.DeiTForImageClassificationWithTeacher": (
        "DeiTConfig", {"intermediate_size": 20, "num_labels": 5}, {}, set(), 29
    ),
    "hf.Dinov2Model": ("Dinov2Config", {"mlp_ratio": 2}, {}, {"embeddings.mask_token"}, 29),
    "hf.Dinov2WithRegistersModel": (
        "Dinov2WithRegistersConfig", {"mlp_ratio": 2, "num_register_tokens": 3}, {}, {"embeddings.mask_token"}, 29,
    ),
    "hf.CLIPVisionModel": ("CLIPVisionConfig", {"intermediate_size": 20}, {}, set(), 29),
    "hf.CLIPVisionModelWithProjection": (
        "CLIPVisionConfig", {"intermediate_size": 20, "projection_dim": 5}, {}, set(), 30
    ),
    "hf.SiglipVisionModel": ("SiglipVisionConfig", {"intermediate_size": 20}, {}, set(), 31),
}  # fmt: skip


def drawn(model: Any, seed: int = 0) -> Any:
    """The model with no bias 0 and no scale 1."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.4 * torch.randn(parameter.shape))
    return model.eval()


def save(name: str, folder: Path, **more: Any) -> Path:
    """A small model of transformers with random weights."""
    transformers: Any = pytest.importorskip("transformers")
    config, own, options, *_ = MODELS[name]
    told = getattr(transformers, config)(**{**SIZES, **own, **more})
    drawn(getattr(transformers, name.removeprefix("hf."))(told, **options)).save_pretrained(folder)
    return folder


def same_but(left: set[str], before: Path, after: Path) -> bool:
    """Are the tensors the same, bit for bit, but for those that are left out?"""
    old, new = tiny_bert.tensors(before), tiny_bert.tensors(after)
    return tiny_bert.same_bits({name: value for name, value in old.items() if name not in left}, new)


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    source, left = save(name, tmp_path / "model"), MODELS[name][3]
    report = ar.port.convert(source, tmp_path / "w.weights.h5")
    assert report.plan.from_map.name == name, "told by its names and its config.json"
    assert set(report.plan.unused) == left
    ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "back.safetensors", to=name)
    assert same_but(left, source, tmp_path / "back.safetensors")


def test_every_activation_has_a_name_of_transformers() -> None:
    from attn_ref_torch.hugging_face import ACTIVATIONS

    assert set(ACTIVATIONS) == set(ar.ops.ACTIVATIONS)


@pytest.mark.deep
@pytest.mark.parametrize("name", MODELS)
def test_both_ends_agree_at_every_tap(name: str, tmp_path: Path) -> None:
    source, taps = save(name, tmp_path / "model"), MODELS[name][4]
    there = ar.port.convert(source, tmp_path / "w.weights.h5", verify=True)
    assert there.ok, there.to_json()["proof"]
    back = ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "back.safetensors", to=name, verify=True)
    assert back.ok, back.to_json()["proof"]
    for report, side in ((there, 0), (back, 1)):
        assert report.proof
        end = report.proof.ends[side]
        assert "transformers" in end.by
        assert len(end.rows) == taps
        print(name, end.side, f"{len(end.rows)} taps, {end.ratio:.2f} σ")


#: options of timm's model -> what of the block they are
TIMM: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "plain": ({}, {"pooling": "class", "eps": 1e-6}, 27),
    "mean": ({"global_pool": "avg"}, {"pooling": "mean", "pooled_norm": True, "final_norm": False}, 27),
    "registers": (
        {"reg_tokens": 3, "no_embed_class": True, "init_values": 0.1},
        {"register_tokens": 3, "class_position": False, "layer_scale": 1.0}, 27,
    ),
    "attention pooling": ({"global_pool": "map", "class_token": False}, {"pooling": "attention"}, 28),
    "norm before": ({"pre_norm": True}, {"embedding_norm": True, "patch_bias": False}, 28),
    "no head": ({"num_classes": 0}, {"num_classes": None}, 26),
    "distilled": ({"distilled": True}, {"distilled_token": True, "pooling": "distilled"}, 26),
}  # fmt: skip


def timm_model(*, distilled: bool = False, **options: Any) -> Any:
    told = {
        "img_size": (8, 12), "patch_size": 4, "in_chans": 2, "embed_dim": 12, "depth": 2, "num_heads": 3,
        "mlp_ratio": 2.0, "num_classes": 5, **options,
    }  # fmt: skip
    module = timm_module("models.deit" if distilled else "models.vision_transformer")
    return drawn((module.VisionTransformerDistilled if distilled else module.VisionTransformer)(**told))


def timm_file(path: Path, **options: Any) -> Path:
    from safetensors.torch import save_file

    save_file(timm_model(**options).state_dict(), path)
    return path


TOLD = {"image_height": 8, "image_width": 12, "num_heads": 3}


@pytest.mark.parametrize("name", TIMM)
def test_timm_to_keras_and_back(name: str, tmp_path: Path) -> None:
    options, fields, _ = TIMM[name]
    source = timm_file(tmp_path / "a.safetensors", **options)
    report = ar.port.convert(source, tmp_path / "w.weights.h5", set=TOLD)
    assert report.plan.from_map.name == "timm.VisionTransformer"
    assert not report.plan.unused
    block = report.plan.block.fields()
    assert {key: block[key] for key in fields} == fields
    ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "back.safetensors", to="timm.VisionTransformer")
    assert same_but(set(), source, tmp_path / "back.safetensors")


@pytest.mark.deep
@pytest.mark.parametrize("name", TIMM)
def test_timm_runs_both_ways(name: str, tmp_path: Path) -> None:
    options, _, taps = TIMM[name]
    source = timm_file(tmp_path / "a.safetensors", **options)
    there = ar.port.convert(source, tmp_path / "w.weights.h5", set=TOLD, verify=True)
    assert there.proof
    assert there.ok, there.to_json()["proof"]
    end = there.proof.ends[0]
    assert "of timm" in end.by
    assert len(end.rows) == taps
    print(name, f"{len(end.rows)} taps, {end.ratio:.2f} σ")


@settings(max_examples=3, deadline=None)
@given(
    heads=st.integers(1, 3), head_width=st.integers(2, 5), layers=st.integers(1, 2), rows=st.integers(1, 3),
    columns=st.integers(1, 3), hidden=st.integers(5, 21), scaled=st.booleans(), registers=st.integers(0, 2),
    dtype=st.sampled_from(("float64", "float32", "bfloat16", "float16")),
)  # fmt: skip
def test_timm_sizes(
    heads: int, head_width: int, layers: int, rows: int, columns: int, hidden: int, scaled: bool, registers: int,
    dtype: str, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    import torch
    from safetensors.torch import save_file

    folder, width = tmp_path_factory.mktemp("timm"), heads * head_width
    model = timm_model(
        img_size=(3 * rows, 3 * columns), patch_size=3, embed_dim=width, depth=layers, num_heads=heads,
        mlp_ratio=(hidden + 0.5) / width, init_values=0.1 if scaled else None, reg_tokens=registers,
        no_embed_class=registers > 0,
    )  # fmt: skip
    save_file(model.to(getattr(torch, dtype)).state_dict(), folder / "a.safetensors")
    told = {"image_height": 3 * rows, "image_width": 3 * columns, "num_heads": heads}
    report = ar.port.convert(folder / "a.safetensors", folder / "w.weights.h5", set=told)
    assert report.plan.block.hidden_width == hidden
    ar.port.convert(folder / "w.weights.h5", folder / "back.safetensors", to="timm.VisionTransformer")
    assert tiny_bert.same_bits(
        tiny_bert.tensors(folder / "a.safetensors"), tiny_bert.tensors(folder / "back.safetensors")
    )


def test_vit_to_keras_to_timm_and_home(tmp_path: Path) -> None:
    """Hugging Face → Keras → timm's names, which timm itself runs → Hugging Face, bit for bit."""
    import torch
    from safetensors.torch import load_file

    source = tiny_vit.save(tmp_path / "model")
    ar.port.convert(source, tmp_path / "a.weights.h5")
    ar.port.convert(tmp_path / "a.weights.h5", tmp_path / "b.safetensors", to="timm.VisionTransformer")
    model = timm_model(mlp_ratio=20.5 / 12, norm_layer=lambda width, **kw: torch.nn.LayerNorm(width, eps=1e-12, **kw))
    model.load_state_dict(load_file(tmp_path / "b.safetensors"), strict=True)
    block, weights = ar.port.load(source)
    x = torch.randn(2, 2, 8, 12, dtype=torch.float64)
    with torch.no_grad():
        there = model.double()(x).numpy()
    here = block({name: value.astype("f8") for name, value in weights.items()}, x.permute(0, 2, 3, 1).numpy())
    assert abs(there - here).max() < 1e-12 * abs(here).max()
    ar.port.convert(tmp_path / "b.safetensors", tmp_path / "back.safetensors", to="hf.ViTForImageClassification")
    assert same_but(set(), source, tmp_path / "back.safetensors")


def test_the_vision_tower_of_a_whole_model_is_taken(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    vision = transformers.CLIPVisionConfig(**SIZES, intermediate_size=20)
    text = transformers.CLIPTextConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=6, eos_token_id=3, bos_token_id=2,
    )  # fmt: skip
    told = transformers.CLIPConfig(vision_config=vision.to_dict(), text_config=text.to_dict(), projection_dim=5)
    model = drawn(transformers.CLIPModel(told))
    model.save_pretrained(tmp_path / "model")
    report = ar.port.convert(tmp_path / "model", tmp_path / "w.npz")
    assert report.plan.from_map.name == "hf.CLIPVisionModelWithProjection"
    assert {"the text tower", "the text tower's projection"} < set(report.plan.unused.values())
    assert (report.plan.block.num_heads, report.plan.block.activation) == (3, "quick_gelu")


def test_what_such_files_cannot_mean_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save("hf.Dinov2Model", tmp_path / "swiglu", use_swiglu_ffn=True)
    refused(capsys, ["use_swiglu_ffn is true; false can be expressed"], "port", source, tmp_path / "w.npz")
    block = ar.VisionTransformer(
        patch=4, channels=2, image_height=8, image_width=12, width=12, num_layers=1, num_heads=3, hidden_width=24,
        layer_scale=0.1, pooling="none",
    )  # fmt: skip
    ar.port.write(tmp_path / "w.npz", block.init(), {"map": "canonical", **block.as_data()})
    texts = ["cannot mean image_height = 8 beside image_width = 12 (only the same number)"]
    refused(capsys, texts, "port", tmp_path / "w.npz", tmp_path / "a.safetensors", "--to", "hf.Dinov2Model")
    texts = ["mean layer_scale = None; this VisionTransformer has 0.1"]
    refused(capsys, texts, "port", tmp_path / "w.npz", tmp_path / "a.safetensors", "--to", "hf.ViTModel")
    plain = timm_file(tmp_path / "t.safetensors", qk_norm=True)
    texts = ["unexpected: blocks.0.attn.q_norm.weight (4)"]
    told = [f"--set={name}={value}" for name, value in TOLD.items()]
    refused(capsys, texts, "port", plain, tmp_path / "x.npz", *told)
    source = timm_file(tmp_path / "r.safetensors", reg_tokens=2)
    texts = ["wrong shape: pos_embed should be (1, 6, 12), got (1, 9, 12)"]
    refused(capsys, texts, "port", source, tmp_path / "x.npz", *told)
    source = save("hf.SiglipVisionModel", tmp_path / "pooled")
    texts = ["pooling is mean by --set, and attention by pool.probe, which is there"]
    refused(capsys, texts, "port", source, tmp_path / "x.npz", "--set", "pooling=mean")
