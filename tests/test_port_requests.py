"""Requests that cannot be met: exit 2, one message that says what to do, and no file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from safetensors.numpy import save_file
from test_port import BERT, command

import attn_ref as ar
from attn_ref.port import verify

pytestmark = pytest.mark.xdist_group("hugging face")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")


def without(*parts: str) -> Callable[[Any], Any]:
    return lambda tensors: {k: v for k, v in tensors.items() if not any(part in k for part in parts)}


def odd(**added: np.ndarray) -> Callable[[Any], Any]:
    return lambda tensors: tensors | {k.replace("__", "."): v for k, v in added.items()}


LAYER_0 = "encoder.layer.0.intermediate.dense"
TENSORS = {
    "keys are missing": (
        without(f"{LAYER_0}.bias", "layer.1.output.dense.bias"),
        [f"missing: {LAYER_0}.bias (20)", "missing: encoder.layer.1.output.dense.bias (12)", "2 differences"],
    ),
    "a key is unexpected": (odd(surprise=np.zeros(3, "f4")), ["unexpected: surprise (3)"]),
    "a tensor is misshapen": (
        lambda t: t | {f"{LAYER_0}.weight": t[f"{LAYER_0}.weight"][:, :11].copy()},
        [f"wrong shape: {LAYER_0}.weight should be (20, 12), got (20, 11)"],
    ),
    "a tensor is transposed": (
        lambda t: t | {"encoder.layer.1.intermediate.dense.weight": t[f"{LAYER_0}.weight"].T.copy()},
        ["wrong shape: encoder.layer.1.intermediate.dense.weight should be (20, 12), got (12, 20)"],
    ),
    "a weight is no float": (
        lambda t: t | {f"{LAYER_0}.bias": np.zeros(20, np.int64)},
        [f"wrong dtype: {LAYER_0}.bias is int64"],
    ),
    "a layer is far away": (
        lambda t: t | {"encoder.layer.99999999.output.dense.bias": np.zeros(12, "f4")},
        ["there is a layers.99999999"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_do_not_fit(case: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit, texts = TENSORS[case]
    source = tiny_bert.change(bert, tmp_path / "changed", edit)
    refused(capsys, texts, "port", source, tmp_path / "out.weights.h5")


def refused(capsys: pytest.CaptureFixture[str], texts: list[str], *arguments: Any) -> str:
    """The command ends with 2, says ``texts`` on stderr and nothing on stdout, and leaves no file in DST's folder."""
    folder = Path(arguments[2]).parent
    before = sorted(folder.iterdir())
    assert command(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert all(text in err for text in texts), err
    assert sorted(folder.iterdir()) == before
    return err


CONFIG = {
    "numbers that contradict": ({"hidden_size": 16}, ["width is 16 by hidden_size in config.json, and 12 by"]),
    "an activation": (
        {"hidden_act": "silu"}, ['hidden_act is "silu"; gelu, gelu_new, gelu_pytorch_tanh, relu, quick_gelu can be']
    ),
    "several at once": (
        {"position_embedding_type": "relative_key", "is_decoder": True, "add_cross_attention": True},
        ["add_cross_attention is true", 'type is "relative_key"; "absolute" can', "is_decoder is true"],
    ),
    "a type": ({"num_attention_heads": "three"}, ["num_heads should be int; got 'three' by num_attention_heads"]),
    "a bad number": ({"num_attention_heads": 5}, ["num_heads = 5 does not divide width = 12"]),
    "far too many": ({"num_attention_heads": 10**9}, ["num_heads = 1000000000", "no more than"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIG)
def test_a_config_that_does_not_fit(case: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, texts = CONFIG[case]
    refused(capsys, texts, "port", tiny_bert.change(bert, tmp_path / "changed", **config), tmp_path / "out.weights.h5")


def test_what_nothing_tells_is_asked_for_all_at_once(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiny_bert.change(bert, tmp_path / "alone")
    (source / "config.json").unlink()
    out, fields = tmp_path / "out.weights.h5", "num_heads, activation, eps"
    texts = ["fits the maps hf.BertModel, hf.ElectraModel, hf.RobertaModel; choose one by --from"]
    refused(capsys, texts, "port", source, out)
    named = ("--from", "hf.BertModel")
    texts = [f"{fields} cannot be told from shapes", "--set num_heads=… --set activation=…"]
    refused(capsys, texts, "port", source, out, *named)
    settings = (*named, "--set", "num_heads=3", "--set", "activation=relu", "--set", "eps=1e-7")
    assert command("port", source, out, *settings) == 0
    assert "activation=relu, eps=1e-07" in capsys.readouterr().out
    save_file(ar.MultiHeadAttention(width=6, num_heads=2).init(), tmp_path / "w.safetensors")
    told = ["--from", "canonical", "--set", "block=MultiHeadAttention"]
    texts = ["num_heads cannot be told from shapes", "give --set num_heads=…"]
    refused(capsys, texts, "port", tmp_path / "w.safetensors", tmp_path / "w.weights.h5", *told)


REQUESTS = {
    "unknown map": (["--to", "kears"], ["unknown map 'kears'; did you mean keras"]),
    "unknown option": (["--set", "heads=3"], ["TextEncoder has no option heads; its options are vocab_size"]),
    "no value": (["--set", "num_heads"], ["--set takes NAME=VALUE"]),
    "wrong value": (["--set", "pooling=max"], ["pooling should be one of 'none', 'mean', 'pooler'; got 'max'"]),
    "wrong kind of value": (["--set", "eps=small"], ["eps should be float; got 'small' by --set"]),
    "value against the shapes": (["--set", "width=13"], ["width is 13 by --set, and 12 by the shape of embe"]),
    "a map of another format": (["--to", "torch"], ["files of map torch are written as .safetensors"]),
    "another map's names": (
        ["--from", "torch", "--set", "block=TextEncoder"],
        ["missing: token.weight (17, 12)", "unexpected: embeddings."],
    ),
    "no block": (["--from", "torch"], ["does not say which block it holds; give --set block=NAME"]),
    "another block": (["--set", "block=EncoderLayer"], ["map hf.BertModel is for TextEncoder, not for EncoderLayer"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REQUESTS)
def test_requests(case: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, texts = REQUESTS[case]
    refused(capsys, texts, "port", bert, tmp_path / "out.weights.h5", *options)


def test_places(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["no such file or folder"], "port", tmp_path / "nothing.safetensors", tmp_path / "w.npz")
    refused(
        capsys,
        ["fits the maps canonical, hf.AlbertModel, hf.Bart, hf.BertModel, ", ", torch; choose one by --to"],
        "port",
        bert,
        tmp_path / "w.safetensors",
    )
    refused(capsys, ["no format has a name of this kind", ".weights.h5"], "port", bert, tmp_path / "w.onnx")
    refused(
        capsys, ["files of map torch are written as .safetensors"], "port", bert, tmp_path / "w.pt", "--to", "torch"
    )
    refused(capsys, ["is a folder; name the file"], "port", bert, tmp_path, "--to", "keras")
    assert command("port", bert, tmp_path / "no" / "w.weights.h5") == 2
    assert "does not exist; make it first" in capsys.readouterr().err
    whole = bert / "model.safetensors"
    refused(capsys, ["which is read, and nothing that is read is written to"], "port", whole, whole, "--to", BERT)
    assert len(tiny_bert.tensors(bert)) == 39


def test_a_failure_while_writing_leaves_what_was_there(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "w.weights.h5"
    out.write_bytes(b"what was there")

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        ar.port.convert(bert, out, on_progress=lambda done, total, what: fail() if done > 2000 else None)
    assert [file.name for file in tmp_path.iterdir()] == ["w.weights.h5"]
    assert out.read_bytes() == b"what was there"


def test_a_framework_that_is_not_there(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "find_spec", lambda name: None if name == "transformers" else object())
    texts = ["needs transformers; pip install 'attn_ref[port]'"]
    refused(capsys, texts, "port", bert, tmp_path / "w.weights.h5", "--verify")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused(capsys, ["pip install huggingface_hub"], "port", "owner/model", tmp_path / "w.weights.h5")


def test_fit_is_tested_before_fields_are_asked_for(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine ``--set`` were asked for, one after another, of a file that could not fit whatever they said."""
    source = tiny_bert.change(bert, tmp_path / "alone")
    (source / "config.json").unlink()
    out = tmp_path / "w.weights.h5"
    given = ["--from", "torch", "--set", "block=MultiHeadAttention"]
    texts = [
        "has none of the names that map torch has for a MultiHeadAttention (query.weight, query.bias, key.weight, …)"
    ]
    refused(capsys, [*texts, "among 39: embeddings.LayerNorm.bias, "], "port", source, out, *given)
    texts = ["it has 12 of the names that map hf.ViTModel has for a VisionTransformer (embeddings.cls_token, "]
    refused(capsys, texts, "port", source, out, "--from", "hf.ViTModel")
