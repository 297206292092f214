"""Moving weights: every way there and back, what a file tells about its block, and requests that cannot be met."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from safetensors.numpy import save_file

import attn_ref as ar
from attn_ref import cli, interrupts

pytestmark = pytest.mark.xdist_group("hugging face")

BERT = "hf.BertModel"


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")


def command(*arguments: Any) -> int:
    """Exit code of ``attn-ref`` with these arguments."""
    signals = {number: signal.getsignal(number) for number in interrupts.SIGNALS}  # the command ends by ignoring them
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["attn-ref", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    for number, handler in signals.items():
        signal.signal(number, handler)
    return int(ended.value.code or 0)


WAYS = [("keras", "w.weights.h5"), ("torch", "w.safetensors"), ("canonical", "w.safetensors"), ("canonical", "w.npz")]


@pytest.mark.parametrize(("to", "name"), WAYS)
def test_there_and_back_bit_for_bit(to: str, name: str, bert: Path, tmp_path: Path) -> None:
    there = ar.port.convert(bert, tmp_path / name, to=to)
    back = ar.port.convert(tmp_path / name, tmp_path / "back.safetensors", to=BERT)
    assert there.ok
    assert back.plan.block == there.plan.block
    assert tiny_bert.same_bits(tiny_bert.tensors(bert), tiny_bert.tensors(tmp_path / "back.safetensors"))
    assert not list(tmp_path.glob(".*")), "a temporary file was left"


def test_a_longer_way_ends_alike(bert: Path, tmp_path: Path) -> None:
    source = bert
    for i, (to, name) in enumerate(WAYS):
        target = tmp_path / f"{i}.{name}"
        ar.port.convert(source, target, to=to)
        source = target
    ar.port.convert(source, tmp_path / "back.safetensors", to=BERT)
    assert tiny_bert.same_bits(tiny_bert.tensors(bert), tiny_bert.tensors(tmp_path / "back.safetensors"))


def old_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As in checkpoints of 2018: a prefix, gamma and beta, heads of pre-training, and a buffer."""
    renamed = {
        f"bert.{key.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')}": value
        for key, value in tensors.items()
    }
    return renamed | {"bert.embeddings.position_ids": np.arange(16)[None], "cls.predictions.bias": np.zeros(17, "f4")}


def test_old_names_come_back_and_what_is_left_out_is_listed(bert: Path, tmp_path: Path) -> None:
    source = tiny_bert.change(bert, tmp_path / "old", old_names)
    there = ar.port.convert(source, tmp_path / "w.weights.h5")
    ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "back.safetensors", to=BERT)
    given, back = tiny_bert.tensors(source), tiny_bert.tensors(tmp_path / "back.safetensors")
    assert set(there.plan.unused) == {"bert.embeddings.position_ids", "cls.predictions.bias"}
    assert tiny_bert.same_bits({key: value for key, value in given.items() if key not in there.plan.unused}, back)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize(("to", "name"), WAYS)
def test_dtypes_are_kept(dtype: str, to: str, name: str, bert: Path, tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    source = tiny_bert.change(bert, tmp_path / "b", lambda tensors: {k: v.astype(kind) for k, v in tensors.items()})
    if dtype == "bfloat16" and name.endswith(".npz"):
        with pytest.raises(ar.port.CheckpointError, match="npz cannot hold bfloat16"):
            ar.port.convert(source, tmp_path / name, to=to)
        return
    ar.port.convert(source, tmp_path / name, to=to)
    ar.port.convert(tmp_path / name, tmp_path / "back.safetensors", to=BERT)
    assert tiny_bert.same_bits(tiny_bert.tensors(source), tiny_bert.tensors(tmp_path / "back.safetensors"))


def test_torch_files_and_shards_give_the_same(bert: Path, tmp_path: Path) -> None:
    import torch

    tensors = tiny_bert.tensors(bert)
    torch.save({key: torch.from_numpy(value) for key, value in tensors.items()}, tmp_path / "pytorch_model.bin")
    shards = tmp_path / "shards"
    shards.mkdir()
    names = {key: f"model-{i % 2}.safetensors" for i, key in enumerate(tensors)}
    for shard in set(names.values()):
        save_file({key: value for key, value in tensors.items() if names[key] == shard}, shards / shard)
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    for folder in (tmp_path, shards):
        (folder / "config.json").write_bytes((bert / "config.json").read_bytes())
        ar.port.convert(folder, tmp_path / "back.safetensors", to=BERT)
        assert tiny_bert.same_bits(tensors, tiny_bert.tensors(tmp_path / "back.safetensors"))


def test_the_block_comes_from_shapes_and_config(bert: Path, tmp_path: Path) -> None:
    source = tiny_bert.change(bert, tmp_path / "new", hidden_act="gelu_new", layer_norm_eps=1e-6)
    plan = ar.port.plan(source, tmp_path / "w.weights.h5", set={"pooling": "mean"})
    assert plan.block == ar.TextEncoder(
        vocab_size=17, max_length=16, num_segments=2, width=12, num_layers=2, num_heads=3, hidden_width=20,
        activation="gelu_tanh", eps=1e-6, dropout=0.1, attention_dropout=0.1, pooler=True, pooling="mean",
    )  # fmt: skip
    assert plan.told["num_heads"] == "num_attention_heads in config.json"
    assert plan.told["pooling"] == "--set"
    headless = tiny_bert.change(bert, tmp_path / "c", lambda t: {k: v for k, v in t.items() if "pooler" not in k})
    assert not ar.port.plan(headless, tmp_path / "w.weights.h5").block.pooler


def test_weights_that_keras_saved_after_training_go_back(bert: Path, tmp_path: Path) -> None:
    """Such a file says nothing about its block, and holds the optimizer's state."""
    import h5py

    ar.port.convert(bert, tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5", "r+") as file:
        del file.attrs["attn_ref"]
        file["optimizer/vars/0"] = np.zeros(3)
    with pytest.raises(ar.port.CheckpointError, match=r"num_heads, activation, eps cannot be told"):
        ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "back.safetensors", to=BERT)
    told = {"num_heads": 3, "activation": "gelu", "eps": 1e-12}
    report = ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "back.safetensors", to=BERT, set=told)
    assert list(report.plan.unused) == ["optimizer/vars/0"]
    assert tiny_bert.same_bits(tiny_bert.tensors(bert), tiny_bert.tensors(tmp_path / "back.safetensors"))


def test_the_plan_reads_no_tensor(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ar.port.Checkpoint, "__getitem__", lambda *_: pytest.fail("a tensor was read"))
    plan = ar.port.plan(bert, tmp_path / "w.weights.h5")
    move = next(move for move in plan.moves if move.canonical == "layers.1.feed_forward.expand.kernel")
    assert (move.source, move.source_shape) == ("encoder.layer.1.intermediate.dense.weight", (20, 12))
    assert (move.inward, move.outward, move.target_shape) == ("transpose", "none", (12, 20))
    assert move.target == "layers/text_encoder/layers/encoder_layer_1/feed_forward/expand/vars/0"


def test_the_command_reports(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, report = tmp_path / "plan.json", tmp_path / "report.json"
    assert command("port", bert, tmp_path / "w.weights.h5", "--plan", plan, "--json", report) == 0
    assert "hf.BertModel → keras" in capsys.readouterr().out
    assert len(json.loads(plan.read_text())["moves"]) == json.loads(report.read_text())["tensors"] == 39
    assert command("port", tmp_path / "w.weights.h5", tmp_path / "w.npz", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["plan"]["to"]["map"] == "canonical"
    assert command("maps", "--json") == 0
    listed = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert set(listed) == {
        "canonical", "google.BertModel", "google.ViT", "hf.AlbertModel", "hf.Bart", "hf.BertModel", "hf.Bloom",
        "hf.CLIPTextModel", "hf.CLIPVisionModel", "hf.CLIPVisionModelWithProjection", "hf.DeiTForImageClassification",
        "hf.DeiTForImageClassificationWithTeacher", "hf.DeiTModel", "hf.Dinov2Model", "hf.Dinov2WithRegistersModel",
        "hf.DistilBertModel", "hf.ElectraModel", "hf.GPT2", "hf.GPTNeoX", "hf.Gemma2", "hf.Gemma3", "hf.GptOss",
        "hf.Llama",
        "hf.MPT", "hf.Mistral", "hf.ModernBert", "hf.OLMo2", "hf.Phi3", "hf.Qwen2", "hf.Qwen3", "hf.RobertaModel",
        "hf.SiglipVisionModel", "hf.T5", "hf.T5Gated", "hf.TFBertModel", "hf.ViTForImageClassification",
        "hf.ViTModel", "hf.Whisper", "keras", "keras.GroupedQueryAttention", "keras.MultiHeadAttention", "meta.Llama",
        "timm.Attention", "timm.CbamModule", "timm.EcaModule", "timm.NonLocalAttn", "timm.SqueezeExcite",
        "timm.VisionTransformer", "torch", "torch.MultiheadAttention", "torch.TransformerEncoderLayer",
    }  # fmt: skip
    assert command("maps") == 0


def test_porting_imports_no_framework(bert: Path, tmp_path: Path) -> None:
    lines = [
        "import sys, attn_ref as ar",
        f"ar.port.convert({str(bert)!r}, {str(tmp_path / 'w.weights.h5')!r})",
        "print(sorted({'torch', 'tensorflow', 'keras', 'jax', 'transformers'} & set(sys.modules)))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_of_the_hub_is_fetched(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **_: {"owner/tiny": str(bert)}[name])
    assert ar.port.convert("owner/tiny", tmp_path / "w.weights.h5").ok
    with pytest.raises(ar.port.CheckpointError, match="owner/other: no such file or folder, nor a Hugging Face model"):
        ar.port.convert("owner/other", tmp_path / "x.weights.h5")
