"""A classifier's head that is no part of the block: offered, and with --with-head carried beside the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from test_port import command
from test_port_requests import refused
from test_vision_maps import SIZES, drawn

import attn_ref as ar
from attn_ref.weights import uniform

pytestmark = pytest.mark.xdist_group("hugging face")


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose head reads the class token and the mean of the patches, beside one another."""
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(**SIZES, mlp_ratio=2, num_labels=5)
    folder = tmp_path_factory.mktemp("dinov2") / "model"
    drawn(transformers.Dinov2ForImageClassification(config)).save_pretrained(folder)
    return folder


def test_it_is_offered(dinov2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("port", dinov2, tmp_path / "w.weights.h5") == 0
    said = "head: classifier, a linear layer 24 → 5: --with-head writes it to w.classifier.weights.h5"
    assert said in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["w.weights.h5"]


def test_model_and_head_give_the_logits_of_the_source(dinov2: Path, tmp_path: Path) -> None:
    """As docs/port.md says it, in Keras."""
    import torch
    import transformers

    ar.backend("tensorflow")
    import keras
    from attn_ref_keras.functional import functional

    report = ar.port.convert(dinov2, tmp_path / "w.weights.h5", with_head=True)
    assert [path.name for path in report.heads] == ["w.classifier.weights.h5"]
    model = functional(report.plan.block, "float64")
    model.load_weights(tmp_path / "w.weights.h5")
    head = keras.layers.Dense(5, dtype="float64")
    head.build((None, 24))
    keras.saving.load_weights(head, tmp_path / "w.classifier.weights.h5")
    images = uniform((2, 8, 8, 2), 3, "images")
    tokens = model({"image": images})
    pooled = keras.ops.concatenate([tokens[:, 0], keras.ops.sum(tokens[:, 1:], axis=1) / 4], axis=-1)
    there = transformers.Dinov2ForImageClassification.from_pretrained(
        dinov2, dtype=torch.float64, attn_implementation="sdpa"
    )
    with torch.no_grad():
        want = there.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).logits.numpy()
    np.testing.assert_allclose(np.asarray(head(pooled)), want, rtol=0, atol=1e-12 * float(np.abs(want).max()))


def test_in_torch_and_numpy_it_has_its_framework_s_names(dinov2: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from torch import nn

    ar.port.convert(dinov2, tmp_path / "w.safetensors", to="torch", with_head=True)
    linear = nn.Linear(24, 5)
    linear.load_state_dict(load_file(tmp_path / "w.classifier.safetensors"), strict=True)
    source = tiny_bert.tensors(dinov2)
    ar.port.convert(dinov2, tmp_path / "w.npz", with_head=True)
    with np.load(tmp_path / "w.classifier.npz") as arrays:
        assert np.array_equal(arrays["kernel"], source["classifier.weight"].T)
        assert np.array_equal(arrays["bias"], source["classifier.bias"])
    assert np.array_equal(linear.weight.detach().numpy(), source["classifier.weight"])


def test_bert_has_one_too(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12, num_labels=3,
        max_position_embeddings=9,
    )  # fmt: skip
    drawn(transformers.BertForTokenClassification(config)).save_pretrained(tmp_path / "model")
    report = ar.port.convert(tmp_path / "model", tmp_path / "w.npz", with_head=True)
    assert [(head.name, head.shape) for head in report.plan.heads] == [("classifier", (3, 8))]
    with np.load(tmp_path / "w.classifier.npz") as arrays:
        assert arrays["kernel"].shape == (8, 3)


def test_where_there_is_none_or_no_place_for_it(
    dinov2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    ar.port.convert(dinov2, tmp_path / "w.npz", to="canonical")
    texts = ["map canonical leaves no head out that could be carried beside"]
    refused(capsys, texts, "port", tmp_path / "w.npz", tmp_path / "x.npz", "--with-head")
    texts = ["cannot be the head classifier"]
    told = ["--with-head", "--plan", tmp_path / "y.classifier.npz"]
    refused(capsys, texts, "port", dinov2, tmp_path / "y.npz", *told)
