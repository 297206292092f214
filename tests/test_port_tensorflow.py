"""TensorFlow's checkpoints, written by TensorFlow; and the formats of Google's own BERT and ViT."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import google_vit
import numpy as np
import pytest
import tiny_bert
from test_port import BERT, command
from test_port_requests import refused

import attn_ref as ar

pytestmark = pytest.mark.xdist_group("hugging face")

PROGRAM = """
import sys
import numpy as np, tensorflow as tf
folder, names = sys.argv[1], np.load(sys.argv[1] + "/names.npz")
v1 = tf.compat.v1
with tf.Graph().as_default():
    for name in names.files:
        v1.get_variable(name, initializer=names[name])
    v1.get_variable("half", initializer=tf.constant([1.5, 2.5], tf.bfloat16))
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        for half, name in ((False, "/bert_model.ckpt"), (True, "/half")):
            saved = [v for v in v1.global_variables() if (v.op.name == "half") == half]
            v1.train.Saver(saved).save(session, folder + name)
module = tf.Module()
module.table, module.name_of_it = tf.Variable(np.arange(6.0).reshape(2, 3)), tf.Variable("text")
tf.train.Checkpoint(model=module).write(folder + "/objects")
"""


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")


def google_name(name: str) -> str:
    """What Google's BERT calls a parameter: dense layers have kernels, norms gamma and beta, tables no leaf."""
    path, _, leaf = name.rpartition(".")
    if path.endswith("LayerNorm"):
        leaf = {"weight": "gamma", "bias": "beta"}[leaf]
    elif leaf == "weight":
        leaf = "" if path.endswith("_embeddings") else "kernel"
    return "bert/" + re.sub(r"layer/(\d+)", r"layer_\1", f"{path}.{leaf}".strip(".").replace(".", "/"))


#: what Google's bert_config.json has
KEYS = (
    "attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob", "hidden_size", "initializer_range",
    "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "type_vocab_size",
    "vocab_size",
)  # fmt: skip


@pytest.fixture(scope="session")
def google(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as Google published BERT, with the state of training that it has, and other checkpoints."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("google")
    arrays = {}
    for name, value in tiny_bert.tensors(bert).items():
        there = google_name(name)
        arrays[there] = value.T if there.endswith("kernel") else value
        arrays[f"{there}/adam_m"] = arrays[f"{there}/adam_v"] = np.zeros_like(arrays[there])
    arrays |= {"global_step": np.int64(5), "cls/predictions/output_bias": np.zeros(17, "f4")}
    np.savez(folder / "names.npz", **arrays)
    plain = f"import sys; sys.path[:] = {sys.path!r}\n"
    subprocess.run([sys.executable, "-c", plain + PROGRAM, str(folder)], check=True, capture_output=True)
    (folder / "names.npz").unlink()
    config = json.loads((bert / "config.json").read_text())
    (folder / "bert_config.json").write_text(json.dumps({key: config[key] for key in KEYS}))
    return folder


def test_googles_bert_goes_to_torch(
    google: Path, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the name that TensorFlow gives a checkpoint, which is no file's."""
    assert command("port", google / "bert_model.ckpt", tmp_path / "w.safetensors", "--to", BERT) == 0
    out = capsys.readouterr().out
    assert "google.BertModel → hf.BertModel" in out
    assert "/adam_m and 78 more: the state of training, not a weight" in out
    assert "cls/predictions/output_bias: the heads of pre-training" in out
    assert tiny_bert.same_bits(tiny_bert.tensors(bert), tiny_bert.tensors(tmp_path / "w.safetensors"))
    plan = ar.port.plan(google / "bert_model.ckpt.index", tmp_path / "w.weights.h5")
    assert plan.told["num_heads"] == "num_attention_heads in config.json"
    assert plan.config == google / "bert_config.json"
    texts = ["bert_model.ckpt.data-00000-of-00001, which is read, and nothing that is read is written to"]
    data = google / "bert_model.ckpt.data-00000-of-00001"
    refused(capsys, texts, "port", google / "bert_model.ckpt", tmp_path / "w.weights.h5", "--plan", data)


@pytest.mark.deep
def test_googles_bert_is_proven(google: Path, tmp_path: Path) -> None:
    report = ar.port.convert(google / "bert_model.ckpt", tmp_path / "w.weights.h5", verify=True)
    assert report.ok, report.to_json()["proof"]
    assert report.proof
    assert len(report.proof.ends[0].rows) == 30
    assert "on a copy of the tensors" in report.proof.ends[0].by


def test_what_googles_config_says_is_asked_for_without_it(google: Path, tmp_path: Path) -> None:
    """The slots of Adam, of which there are twice as many, do not make the names a misfit."""
    import shutil

    for path in google.glob("bert_model.ckpt.*"):
        shutil.copy(path, tmp_path)
    with pytest.raises(ar.port.CheckpointError, match="num_heads, activation, eps cannot be told from shapes"):
        ar.port.plan(tmp_path / "bert_model.ckpt", tmp_path / "w.npz")


@pytest.mark.deep
def test_variables_are_read_by_their_paths(google: Path) -> None:
    pytest.importorskip("ml_dtypes")
    with ar.port.read(google / "objects.index") as checkpoint:
        assert checkpoint.specs == {"model/table": ar.port.Spec((2, 3), "float64")}
        assert checkpoint["model/table"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert checkpoint.left == {"model/name_of_it": "text", "_CHECKPOINTABLE_OBJECT_GRAPH": "text"}
    with ar.port.read(google / "half.index") as checkpoint:
        assert checkpoint.specs == {"half": ar.port.Spec((2,), "bfloat16")}
        assert checkpoint["half"].astype("f4").tolist() == [1.5, 2.5]


def test_tensorflow_that_is_not_there(google: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attn_ref.port.formats import tf_checkpoint

    monkeypatch.setitem(sys.modules, "attn_ref_keras.checkpoint", None)
    with pytest.raises(ar.port.CheckpointError, match=r"needs TensorFlow; pip install 'attn_ref\[keras\]'"):
        tf_checkpoint.prepare(google / "bert_model.ckpt.index")


# ViT's .npz ----------------------------------------------------------------------------------------------------------

SIDES = {"image_height": google_vit.SIZE, "image_width": google_vit.SIZE}


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    np.savez(tmp_path / "vit.npz", **google_vit.arrays())
    return tmp_path / "vit.npz"


def test_googles_vit_says_all_but_the_sides_of_its_images(vit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["image_height, image_width cannot be told from shapes"]
    refused(capsys, texts, "port", vit, vit.parent / "w.weights.h5")
    plan = ar.port.plan(vit, vit.parent / "w.weights.h5", set=SIDES)
    assert plan.block == ar.VisionTransformer(
        patch=4, image_height=12, image_width=12, width=12, num_layers=2, num_heads=3, hidden_width=20,
        activation="gelu_tanh", eps=1e-6, num_classes=5,
    )  # fmt: skip
    assert (
        plan.told["num_heads"] == "the shape of Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
    )


@pytest.mark.deep
def test_googles_vit_is_what_timm_reads(vit: Path, tmp_path: Path) -> None:
    """timm's own model and its own loader of such files; that conversion and reference agree is checked below."""
    pytest.importorskip("torch")
    images = np.random.default_rng(1).standard_normal((2, google_vit.SIZE, google_vit.SIZE, 3))
    np.save(tmp_path / "x.npy", images)
    program = [sys.executable, google_vit.__file__, vit, tmp_path / "x.npy", tmp_path / "y.npy"]
    done = subprocess.run(list(map(str, program)), capture_output=True, text=True)
    if "No module named 'timm'" in done.stderr:
        pytest.skip("timm is not installed: pip install --no-deps timm==1.0.31, as make test does")
    assert done.returncode == 0, done.stderr
    block, weights = ar.port.load(vit, set=SIDES)
    got = block({name: value.astype(float) for name, value in weights.items()}, image=images)
    assert np.abs(got - np.load(tmp_path / "y.npy")).max() < 1e-13
    report = ar.port.convert(vit, tmp_path / "w.weights.h5", set=SIDES, verify=True)
    assert report.ok, report.to_json()["proof"]


def test_googles_vit_goes_to_hugging_face_and_back(vit: Path, tmp_path: Path) -> None:
    given = google_vit.arrays()
    ar.port.convert(vit, tmp_path / "w.safetensors", to="hf.ViTForImageClassification", set=SIDES)
    # what a safetensors file of that kind does not say, and the config.json that a user writes beside it does
    told = {**SIDES, "num_heads": 3, "activation": "gelu_tanh", "eps": 1e-6}
    ar.port.convert(tmp_path / "w.safetensors", tmp_path / "back.npz", to="google.ViT", set=told)
    with np.load(tmp_path / "back.npz") as back:
        assert tiny_bert.same_bits(given, {name: back[name] for name in given})
