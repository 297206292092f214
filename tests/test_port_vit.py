"""Hugging Face's ViT in NumPy, torch and Keras: against its own code, and back bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
import tiny_vit

import attn_ref as ar
from attn_ref.weights import uniform

CLASSIFIER, MODEL = "hf.ViTForImageClassification", "hf.ViTModel"
#: largest difference allowed in float64, relative to the largest logit
BOUND = 1e-11
#: ViT-Tiny/16 of 5.7 million parameters
FULL = {
    "image_size": 224, "patch_size": 16, "num_channels": 3, "hidden_size": 192, "num_hidden_layers": 12,
    "num_attention_heads": 3, "intermediate_size": 768, "num_labels": 1000,
}  # fmt: skip
SIZES = [
    pytest.param({}, id="tiny"),
    pytest.param(FULL, id="ViT-Tiny/16", marks=[pytest.mark.deep, pytest.mark.slow]),
]

pytestmark = pytest.mark.xdist_group("hugging face")


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit.save(tmp_path_factory.mktemp("vit") / "model")


def logits_of(folder: Path, images: np.ndarray, attention: str = "sdpa") -> np.ndarray:
    """By transformers itself, in float64."""
    import torch
    import transformers

    model = transformers.ViTForImageClassification.from_pretrained(
        folder, dtype=torch.float64, attn_implementation=attention
    )
    with torch.no_grad():
        return model.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).logits.numpy()


def apart(got: np.ndarray, want: np.ndarray) -> float:
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize("sizes", SIZES)
def test_logits_are_those_of_the_source_in_all_three(sizes: dict[str, Any], tmp_path: Path) -> None:
    source = tiny_vit.save(tmp_path / "model", **sizes)
    block, weights = ar.port.load(source)
    images = uniform((2, block.image_height, block.image_width, block.channels), 3, "images")
    want = logits_of(source, images)
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    found = {"NumPy": apart(block(wide, images), want)}

    there = ar.port.convert(source, tmp_path / "w.weights.h5")
    ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "w.safetensors", to="torch")
    assert len(there.plan.moves) == len(tiny_bert.tensors(source)), "every key of the source is used"
    assert not there.plan.unused

    engine = ar.backend("tensorflow")
    from attn_ref_keras.functional import functional

    model = functional(block, "float64")
    model.load_weights(tmp_path / "w.weights.h5")
    found["Keras"] = apart(engine.run(model.layers[-1], {"image": images}, observe=False).output, want)

    from safetensors.torch import load_file

    layer = ar.backend("torch").build(block)
    layer.load_state_dict(load_file(tmp_path / "w.safetensors"))
    found["torch"] = apart(ar.backend("torch").run(layer, {"image": images}, observe=False).output, want)
    print({name: f"{value:.1e}" for name, value in found.items()})
    assert max(found.values()) <= BOUND, found

    for name in ("w.weights.h5", "w.safetensors"):
        ar.port.convert(tmp_path / name, tmp_path / "back.safetensors", to=CLASSIFIER)
        assert tiny_bert.same_bits(tiny_bert.tensors(source), tiny_bert.tensors(tmp_path / "back.safetensors")), name


def test_transformers_eager_attention_is_in_float32(vit: Path) -> None:
    """transformers/models/vit/modeling_vit.py: ``softmax(…, dtype=torch.float32)``, whatever the model's dtype."""
    block, weights = ar.port.load(vit)
    images = uniform((2, 8, 12, 2), 3, "images")
    y = block({name: value.astype(np.float64) for name, value in weights.items()}, images)
    assert 1e-10 < apart(logits_of(vit, images, "eager"), y) < 1e-6
    assert apart(logits_of(vit, images), y) < 1e-14


@pytest.mark.deep
@pytest.mark.parametrize(("classifier", "name", "taps"), [(True, CLASSIFIER, 30), (False, MODEL, 29)])
@pytest.mark.parametrize("activation", ["gelu_new"])
def test_verify_runs_both_ends(classifier: bool, name: str, taps: int, activation: str, tmp_path: Path) -> None:
    """From Hugging Face to Keras, to torch, and back to Hugging Face, which runs what was written."""
    source = tiny_vit.save(tmp_path / "model", classifier, hidden_act=activation, layer_norm_eps=1e-5)
    there = ar.port.convert(source, tmp_path / "w.weights.h5", verify=True)
    assert there.ok, there.to_json()["proof"]
    assert there.plan.from_map.name == name
    assert bool(there.plan.unused) is not classifier  # the pooler
    back = ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "back.safetensors", to=name, verify=True)
    assert back.ok, back.to_json()["proof"]
    for report, side in ((there, 0), (back, 1)):
        assert report.proof is not None
        assert len(report.proof.ends[side].rows) == taps
        assert report.proof.ends[side].worst < 1e-13


def test_the_block_comes_from_shapes_and_config(vit: Path, tmp_path: Path) -> None:
    plan = ar.port.plan(vit, tmp_path / "w.weights.h5")
    assert plan.block == ar.VisionTransformer(
        patch=4, channels=2, image_height=8, image_width=12, width=12, num_layers=2, num_heads=3, hidden_width=20,
        eps=1e-12, num_classes=5,
    )  # fmt: skip
    move = next(move for move in plan.moves if move.canonical == "patch_embedding.project.kernel")
    assert (move.source_shape, move.inward, move.target_shape) == ((12, 2, 4, 4), "conv", (4, 4, 2, 12))
    move = next(move for move in plan.moves if move.canonical == "position.embedding")
    assert (move.source_shape, move.inward, move.target_shape) == ((1, 7, 12), "batch", (7, 12))
    square = tiny_vit.save(tmp_path / "square", image_size=8)
    assert (ar.port.plan(square, tmp_path / "w.npz").block.image_width) == 8
    model = tiny_vit.save(tmp_path / "bare", classifier=False)
    plan = ar.port.plan(model, tmp_path / "w.npz")
    assert (plan.from_map.name, plan.block.num_classes, plan.block.pooling) == (MODEL, None, "none")
    assert list(plan.unused) == ["pooler.dense.bias", "pooler.dense.weight"]


def test_the_names_of_the_model_in_memory_are_read_too(vit: Path, tmp_path: Path) -> None:
    """``torch.save(model.state_dict())`` has other names than ``save_pretrained``."""
    import torch

    torch.save(tiny_vit.make().state_dict(), tmp_path / "model.pt")
    told = {"image_height": 8, "image_width": 12, "num_heads": 3, "activation": "gelu", "eps": 1e-12}
    with pytest.raises(ar.port.CheckpointError, match="num_heads, image_height, image_width, activation, eps cannot"):
        ar.port.load(tmp_path / "model.pt")
    block, weights = ar.port.load(tmp_path / "model.pt", set=told)
    same, others = ar.port.load(vit)
    assert block == same
    assert tiny_bert.same_bits(weights, others)
    ar.port.convert(tmp_path / "model.pt", tmp_path / "w.npz", set=told)
    ar.port.convert(tmp_path / "w.npz", tmp_path / "back.safetensors", to=CLASSIFIER)
    assert "vit.layers.1.attention.q_proj.weight" in tiny_bert.tensors(tmp_path / "back.safetensors")


def test_what_the_names_cannot_mean_is_refused(vit: Path, tmp_path: Path) -> None:
    """A post-norm model has the same parameters, and would become another model without a word."""
    with pytest.raises(ar.port.CheckpointError, match="mean norm_first = True; this VisionTransformer has False"):
        ar.port.plan(vit, tmp_path / "w.npz", set={"norm_first": False})
    block = ar.VisionTransformer(**{**ar.VisionTransformer.example, "norm_first": None})
    told = {"map": "canonical", "block": "VisionTransformer", "fields": block.fields()}
    ar.port.write(tmp_path / "w.npz", block.init(), told)
    with pytest.raises(ar.port.CheckpointError, match="mean norm_first = True; this VisionTransformer has None"):
        ar.port.convert(tmp_path / "w.npz", tmp_path / "back.safetensors", to=CLASSIFIER)
    biasless = tiny_vit.save(tmp_path / "biasless", qkv_bias=False)
    with pytest.raises(ar.port.CheckpointError, match="qkv_bias is false; true can be expressed"):
        ar.port.plan(biasless, tmp_path / "w.npz")
    oblong = tiny_vit.save(tmp_path / "oblong", patch_size=[4, 6])
    with pytest.raises(ar.port.CheckpointError, match=r"patch_embeddings.projection.weight should be \(12, 2, 4, 4\)"):
        ar.port.plan(oblong, tmp_path / "w.npz")


def test_a_kernel_that_is_not_turned_is_caught(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4×4 patches: with height and width exchanged all shapes fit, and the round trip is bit-exact."""
    from attn_ref.foreign import rules as mapping
    from attn_ref.foreign.rules import Layout

    swapped = Layout(lambda x: x.transpose(3, 2, 1, 0), lambda x: x.transpose(3, 2, 1, 0))
    monkeypatch.setitem(mapping.LAYOUTS, "conv", swapped)
    ar.port.convert(vit, tmp_path / "wrong.npz")
    ar.port.convert(tmp_path / "wrong.npz", tmp_path / "back.safetensors", to=CLASSIFIER)
    assert tiny_bert.same_bits(tiny_bert.tensors(vit), tiny_bert.tensors(tmp_path / "back.safetensors"))
    report = ar.port.convert(vit, tmp_path / "w.npz", verify=True)
    assert not report.ok
    assert report.proof is not None
    assert report.proof.ends[0].first == "patch_embedding.projected"
