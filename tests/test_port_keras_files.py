"""Keras' files as Keras itself writes them: one, in shards, in an archive, and Keras 2's; and folders of KerasHub."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tiny_bert
from test_port import BERT, command
from test_port_requests import refused

import attn_ref as ar

pytestmark = pytest.mark.xdist_group("hugging face")

BLOCK = ar.EncoderLayer(**ar.EncoderLayer.example)
TOLD = {"block": "EncoderLayer", **BLOCK.fields()}
PROGRAM = """
import sys
import attn_ref as ar, keras
from attn_ref_keras.functional import functional
model = functional(ar.EncoderLayer(**ar.EncoderLayer.example))
for n, name in enumerate(sorted(v.path for v in model.weights)):
    next(v for v in model.weights if v.path == name).assign(keras.random.normal(
        next(v for v in model.weights if v.path == name).shape, seed=n))
model.save_weights(f"{sys.argv[1]}/one.weights.h5")
model.save_weights(f"{sys.argv[1]}/many.weights.json", max_shard_size=5e-7)
model.save(f"{sys.argv[1]}/whole.keras")
model.save(f"{sys.argv[1]}/old.h5")
"""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same weights in every way that Keras has."""
    pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("keras")
    plain = f"import sys; sys.path[:] = {sys.path!r}\n"
    env = {"KERAS_BACKEND": "tensorflow", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    subprocess.run([sys.executable, "-c", plain + PROGRAM, str(folder)], check=True, env=env, capture_output=True)
    return folder


def contents(path: Path) -> dict[str, np.ndarray]:
    with ar.port.read(path) as checkpoint:
        return dict(checkpoint)


@pytest.mark.parametrize("name", ["many.weights.json", "whole.keras"])
def test_shards_and_archives_hold_what_one_file_holds(name: str, files: Path) -> None:
    one = contents(files / "one.weights.h5")
    assert len(list(files.glob("many_*.weights.h5"))) > 2
    assert tiny_bert.same_bits(one, contents(files / name))


@pytest.mark.deep
@pytest.mark.parametrize("name", ["many.weights.json", "whole.keras"])
def test_shards_and_archives_are_proven(name: str, files: Path, tmp_path: Path) -> None:
    report = ar.port.convert(files / name, tmp_path / "w.safetensors", to="torch", set=TOLD, verify=True)
    assert report.ok, report.to_json()["proof"]


def test_keras_2_is_known_by_what_it_holds_and_not_by_its_name(files: Path, tmp_path: Path) -> None:
    old, one = contents(files / "old.h5"), contents(files / "one.weights.h5")
    assert sorted(value.tobytes() for value in old.values()) == sorted(value.tobytes() for value in one.values())
    assert all(name.startswith("encoder_layer/encoder_layer/") for name in old)
    for source, name, form in (("old.h5", "x.weights.h5", "keras_legacy"), ("one.weights.h5", "x.h5", "keras_h5")):
        (tmp_path / name).write_bytes((files / source).read_bytes())
        with ar.port.read(tmp_path / name) as checkpoint:
            assert checkpoint.format == form


def tf_name(name: str) -> str:
    """What ``TFBertModel`` called a parameter: dense layers have kernels, norms gamma and beta, levels a slash."""
    path, _, leaf = name.rpartition(".")
    if path.endswith("LayerNorm"):
        leaf = {"weight": "gamma", "bias": "beta"}[leaf]
    elif path.endswith(("position_embeddings", "token_type_embeddings")):
        leaf = "embeddings"
    elif leaf == "weight" and not path.endswith("word_embeddings"):
        leaf = "kernel"
    return re.sub(r"layer/(\d+)", r"layer_._\1", f"{path}.{leaf}".replace(".", "/"))


def tf_model(bert: Path, folder: Path) -> Path:
    """As TF-Keras 2 saved ``tf_model.h5``: a group a layer, ``:0`` behind every weight, its names as attributes."""
    folder.mkdir()
    with h5py.File(folder / "tf_model.h5", "w") as file:
        group, names = file.create_group("bert"), []
        for name, value in tiny_bert.tensors(bert).items():
            names.append(f"tf_bert_model/bert/{tf_name(name)}:0")
            group.create_dataset(names[-1], data=value.T if names[-1].endswith("kernel:0") else value)
        group.attrs["weight_names"] = names
        file.attrs.update({"layer_names": ["bert"], "backend": "tensorflow", "keras_version": "2.15.0"})
    (folder / "config.json").write_bytes((bert / "config.json").read_bytes())
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")


def test_a_tf_model_goes_to_torch(bert: Path, tmp_path: Path) -> None:
    report = ar.port.convert(tf_model(bert, tmp_path / "tf"), tmp_path / "w.safetensors", to=BERT)
    assert report.plan.from_map.name == "hf.TFBertModel"
    assert tiny_bert.same_bits(tiny_bert.tensors(bert), tiny_bert.tensors(tmp_path / "w.safetensors"))


@pytest.mark.deep
def test_a_tf_model_is_proven(bert: Path, tmp_path: Path) -> None:
    report = ar.port.convert(tf_model(bert, tmp_path / "tf"), tmp_path / "w.weights.h5", verify=True)
    assert report.ok, report.to_json()["proof"]
    assert len(report.proof.ends[0].rows) == 30 if report.proof else False


def test_keras_2_is_not_written(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["files of map keras are written as .weights.h5"]
    refused(capsys, texts, "port", bert, tmp_path / "w.h5", "--to", "keras")


def preset(folder: Path, **config: Any) -> Path:
    """As KerasHub saves a preset."""
    folder.mkdir()
    with h5py.File(folder / "model.weights.h5", "w") as file:
        file["layers/text_encoder/token/vars/0"] = np.zeros((3, 2), "f4")
    told = {
        "module": "keras_hub.src.models.bert.bert_backbone", "class_name": "BertBackbone",
        "config": {"num_layers": 2}, "registered_name": "keras_hub>BertBackbone",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(told | config))
    (folder / "metadata.json").write_text("{}")
    return folder


def test_a_preset_of_keras_hub_is_called_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = preset(tmp_path / "bert_tiny_en_uncased")
    texts = ["holds a model of type BertBackbone of KerasHub by", "config.json, and there is no map for it yet"]
    refused(capsys, texts, "port", folder, tmp_path / "w.safetensors", "--to", "torch")
    other = preset(tmp_path / "mine", module="mine", registered_name="Mine")
    texts = [f"cannot be told from shapes or {other / 'config.json'}"]
    told = ["--set", "block=TextEncoder", "--to", "torch"]
    refused(capsys, texts, "port", other, tmp_path / "w.safetensors", *told)


def test_a_config_in_an_archive_is_not_looked_at(files: Path, tmp_path: Path) -> None:
    """A Lambda layer in a config holds code; only the weights are read."""
    import zipfile

    with zipfile.ZipFile(files / "whole.keras") as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    parts["config.json"] = b'{"class_name": "Lambda", "config": {"function": {"config": {"code": "4wEAAAA="}}}}'
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    assert tiny_bert.same_bits(contents(files / "whole.keras"), contents(tmp_path / "w.keras"))
    assert command("port", tmp_path / "w.keras", tmp_path / "w.weights.h5", *told(TOLD)) == 0


def told(fields: dict[str, Any]) -> list[str]:
    return [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]
