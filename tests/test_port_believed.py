"""What a proof takes for granted is said, what the file says wins, and recorded outputs of the real model prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from safetensors.numpy import save_file
from test_port import command
from test_port_requests import refused

import attn_ref as ar

pytestmark = pytest.mark.xdist_group("hugging face")

SET = {"num_heads": 3, "activation": "gelu", "eps": 1e-12}


def told(**changes: Any) -> list[str]:
    named = ["--from", "hf.BertModel"]  # without a config it may be another family's
    return named + [part for name, value in {**SET, **changes}.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without its config.json, beside it what transformers' own model gives in every dtype."""
    import torch
    import transformers
    from safetensors.torch import save_file

    folder = tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 17, (2, 9)))
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        model = transformers.BertModel.from_pretrained(folder).to(getattr(torch, dtype)).eval()
        with torch.no_grad():
            output = model(ids).last_hidden_state
        save_file({"token_ids": ids, "output": output}, folder.parent / f"{dtype}.safetensors")
    with torch.no_grad():
        model = transformers.BertModel.from_pretrained(folder).double().eval()
        states = model(ids, output_hidden_states=True)
    arrays = {"layer_0": states.hidden_states[1].numpy(), "output": states.last_hidden_state.numpy()}
    np.savez(folder.parent / "taps.npz", token_ids=ids.numpy(), **arrays)
    (folder / "config.json").rename(folder.parent / "config.json")
    return folder


def port(bert: Path, out: Path, **options: Any) -> ar.port.Report:
    options = {"from_": "hf.BertModel", **options, "set": {**SET, **options.pop("set", {})}}
    if "example" in options:
        options["example"] = bert.parent / options["example"]
    return ar.port.convert(bert, out, **options)


@pytest.mark.deep
def test_a_belief_is_not_proven_by_both_ends(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ends are run by the same wrong number of heads, and agree: the verdict says so."""
    assert command("port", bert, tmp_path / "w.npz", *told(num_heads=4), "--verify") == 0
    out = capsys.readouterr().out
    assert out.count("all agree") == 2
    said = "believed, not proven: num_heads=4 (--set), activation=gelu (--set), eps=1e-12 (--set); --example FILE can"
    assert said in out


def test_where_a_config_says_it_nothing_is_believed(bert: Path, tmp_path: Path) -> None:
    import shutil

    from attn_ref.port.believed import believed

    folder = Path(shutil.copytree(bert, tmp_path / "whole"))
    assert set(believed(ar.port.plan(folder, tmp_path / "w.npz", from_="hf.BertModel", set=SET))) == set(SET)
    shutil.copy(bert.parent / "config.json", folder)
    assert believed(ar.port.plan(folder, tmp_path / "w.npz", set={"pooling": "mean"})) == {}


@pytest.mark.parametrize(
    ("wrong", "dtypes"),
    [
        ({"num_heads": 4}, ("float64", "float32", "float16")),
        ({"eps": 1e-5}, ("float64",)),
        ({"activation": "gelu_tanh"}, ("float64", "float32")),
    ],
)
def test_an_example_of_the_real_model_finds_a_wrong_belief(
    wrong: dict[str, Any], dtypes: tuple[str, ...], bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for dtype in dtypes:
        out, example = tmp_path / "w.npz", bert.parent / f"{dtype}.safetensors"
        assert command("port", bert, out, *told(**wrong), "--example", example) == 1
        said = capsys.readouterr().out
        assert "example" in said
        assert "differs first at output" in said
        assert not out.exists()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_an_example_is_held_to_the_tolerance_of_its_dtype(dtype: str, bert: Path, tmp_path: Path) -> None:
    report = port(bert, tmp_path / "w.npz", example=f"{dtype}.safetensors")
    assert report.ok
    assert report.proof
    (end,) = report.proof.ends
    assert (end.side, len(end.rows)) == ("example", 1)
    assert end.ratio <= end.bound == {"float64": 16, "float32": 16, "float16": 4, "bfloat16": 4}[dtype]


def test_an_example_proves_what_it_can_tell_apart(bert: Path, tmp_path: Path) -> None:
    """In float64 all of it; in bfloat16 no rounding error is as small as what another eps makes."""
    fine = port(bert, tmp_path / "w.npz", example="float64.safetensors").proof
    coarse = port(bert, tmp_path / "w.npz", example="bfloat16.safetensors").proof
    assert fine
    assert coarse
    assert fine.believed == {}
    assert coarse.believed["eps"] == "--set; the example is that of 1e-05 too"


def test_values_at_taps_name_the_first_that_differs(bert: Path, tmp_path: Path) -> None:
    right = port(bert, tmp_path / "w.npz", example="taps.npz").proof
    assert right
    assert [row.tap for row in right.ends[0].rows] == ["layer_0", "output"]
    wrong = port(bert, tmp_path / "w2.npz", example="taps.npz", set={"num_heads": 2}).proof
    assert wrong
    assert wrong.ends[0].first == "layer_0"


EXAMPLES = {
    "no output": ({"token_ids": np.zeros((2, 3), int)}, "has no output; save the model's result as 'output'"),
    "no input": ({"output": np.zeros((2, 3, 12))}, "its inputs are none of TextEncoder"),
    "another name": ({"token_ids": np.zeros((2, 3), int), "hidden": np.zeros(3)}, "hidden is no input and no tap"),
    "an integer": ({"token_ids": np.zeros((2, 3), int), "output": np.zeros(3, int)}, "outputs are float64"),
    "another vocabulary": ({"token_ids": np.full((2, 3), 99), "output": np.zeros(3)}, "its inputs are none of Text"),
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_example_that_is_none(kind: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, text = EXAMPLES[kind]
    save_file(arrays, tmp_path / "x.safetensors")
    refused(capsys, [text], "port", bert, tmp_path / "w.npz", *told(), "--example", tmp_path / "x.safetensors")


def test_an_example_is_not_written_over(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = bert.parent / "float64.safetensors"
    refused(capsys, ["which is read"], "port", bert, example, "--to", "torch", *told(), "--example", example)


def test_what_the_files_say_is_not_said_otherwise(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    folder = Path(shutil.copytree(bert, tmp_path / "whole"))
    shutil.copy(bert.parent / "config.json", folder)
    texts = [
        "num_heads is 4 by --set, and 3 by num_attention_heads in config.json; the file's own word counts",
        "eps is",
    ]
    out = tmp_path / "w.weights.h5"
    refused(capsys, texts, "port", folder, out, "--set", "num_heads=4", "--set", "eps=1e-6")
    ar.port.convert(folder, out, set={"num_heads": 3, "pooling": "mean"})  # what one does with a model is free
    assert ar.port.plan(out, tmp_path / "x.npz", set={"pooling": "none"}).block.pooling == "none"
    refused(capsys, ["and 3 by the file's metadata"], "port", out, tmp_path / "w.npz", "--set", "num_heads=4")
