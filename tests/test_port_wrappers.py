"""What people's files have around a model: wrappers' names, dicts of training runs, copies by EMA. Made by torch."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from test_port import BERT, command
from test_port_requests import refused

import attn_ref as ar
from attn_ref.port.checkpoint import Checkpoint, Spec
from attn_ref.port.wrappers import candidates, opened

pytestmark = pytest.mark.xdist_group("hugging face")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")


def optimizer(torch: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Adam's own state after a step on two of the parameters."""
    parameters = [torch.nn.Parameter(value.clone()) for value in list(state.values())[:2]]
    adam = torch.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    adam.step()
    told: dict[str, Any] = adam.state_dict()
    return told


def below(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in state.items()}


def lightning(torch: Any, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "epoch": 3, "global_step": 50, "pytorch-lightning_version": "2.4.0", "state_dict": below("model.", state),
        "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {"ModelCheckpoint{}": {"best": torch.tensor(0.5)}},
        "optimizer_states": [optimizer(torch, state)], "lr_schedulers": [], "hyper_parameters": {"lr": 1e-3},
    }  # fmt: skip


def trained(torch: Any, state: dict[str, Any]) -> dict[str, Any]:
    mean = {name: 2 * value for name, value in state.items()}
    return {"model": below("_orig_mod.module.", state), "ema": mean, "optimizer": optimizer(torch, state), "epoch": 7}


def with_options(torch: Any, state: dict[str, Any]) -> dict[str, Any]:
    """As research code saves its command line, a path and a best value of NumPy's beside the model."""
    best = {"accuracy": np.float64(0.9), "folder": Path("out")}
    return {"model": state, "args": argparse.Namespace(lr=0.1, layers=[1, 2]), "best": best, "epoch": 3}


#: file -> what it holds, below what the model lies, and what is said
FILES: dict[str, tuple[Callable[[Any, dict[str, Any]], Any], str, tuple[str, ...]]] = {
    "ddp.pt": (lambda torch, state: below("module.", state), "module.", ()),
    "compiled.bin": (lambda torch, state: below("_orig_mod.", state), "_orig_mod.", ()),
    "saved.pth": (lambda torch, state: {"model_state_dict": state, "loss": 0.1}, "model_state_dict.", ("loss: float",)),
    "best.pth.tar": (lambda torch, state: {"state_dict": below("module.", state)}, "state_dict.module.", ()),
    "last.ckpt": (
        lightning,
        "state_dict.model.",
        ("optimizer_states.0.state.0", "epoch and 1 more: int", "callbacks.Model"),
    ),
    "checkpoint.pth": (with_options, "model.", ("left out: args: Namespace, no tensor", "best: dict", "epoch: int")),
    "run.pt": (
        trained,
        "model._orig_mod.module.",
        ("EMA) lies below ema.; --prefix ema. takes it", "the state of training, not a weight", "epoch: int"),
    ),
}


def some(names: Iterable[str], *everyday: str) -> list[Any]:
    """The names as parameters, those that are not ``everyday`` for the deep sweep: each is a port with its proof."""
    return [pytest.param(name, marks=() if name in everyday else pytest.mark.deep) for name in names]


def torch_file(bert: Path, folder: Path, name: str) -> Path:
    """A folder with the file ``name`` and the model's config.json."""
    import torch

    state = {key: torch.from_numpy(value) for key, value in tiny_bert.tensors(bert).items()}
    folder.mkdir(exist_ok=True)
    torch.save(FILES[name][0](torch, state), folder / name)
    shutil.copy(bert / "config.json", folder)
    return folder


@pytest.mark.parametrize("name", some(FILES, "last.ckpt", "run.pt"))
def test_a_wrapped_model_is_found_and_said(
    name: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = torch_file(bert, tmp_path / "in", name)
    _, prefix, texts = FILES[name]
    assert command("port", source, tmp_path / "w.safetensors", "--to", BERT) == 0
    out = capsys.readouterr().out
    assert f"opened: the 39 names below {prefix}\n" in out
    assert all(text in out for text in texts), out
    assert tiny_bert.same_bits(tiny_bert.tensors(bert), tiny_bert.tensors(tmp_path / "w.safetensors"))
    plan = ar.port.plan(source, tmp_path / "x.weights.h5")
    with ar.port.read(source) as whole:
        assert {move.source for move in plan.moves} | plan.unused.keys() >= set(whole), "a tensor is not accounted for"


@pytest.mark.deep
def test_the_mean_is_taken_by_its_prefix(bert: Path, tmp_path: Path) -> None:
    source = torch_file(bert, tmp_path / "in", "run.pt")
    ar.port.convert(source, tmp_path / "w.safetensors", to=BERT, prefix="ema.")
    doubled = {name: 2 * value for name, value in tiny_bert.tensors(bert).items()}
    assert tiny_bert.same_bits(doubled, tiny_bert.tensors(tmp_path / "w.safetensors"))
    assert len(ar.port.load(source, prefix="ema.")[1]) == 39


def test_other_wrappers_are_offered_and_taken_by_name(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    state = {key: torch.from_numpy(value) for key, value in tiny_bert.tensors(bert).items()}
    extra = {"student.queue": torch.zeros(3), "surprise": torch.zeros(2)}
    torch.save(below("teacher.trunk.", state) | extra, tmp_path / "w.pt")
    shutil.copy(bert / "config.json", tmp_path)
    out = tmp_path / "w.weights.h5"
    refused(capsys, ["hf.BertModel are below teacher.trunk.: --prefix teacher.trunk."], "port", tmp_path / "w.pt", out)
    texts = ["no name begins with 'trunk.'; its names are 39 below teacher., 1 below student."]
    refused(capsys, texts, "port", tmp_path / "w.pt", out, "--prefix", "trunk.")
    texts = ["no name fits --drop 'optim*'; * stands for anything"]
    refused(capsys, texts, "port", tmp_path / "w.pt", out, "--drop", "optim*")
    assert command("port", tmp_path / "w.pt", out, "--prefix", "teacher.trunk.") == 0
    said = capsys.readouterr().out
    assert "left out: student.queue and 1 more: not below teacher.trunk." in said


@pytest.mark.deep
def test_names_are_dropped_by_pattern(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    state = {key: torch.from_numpy(value) for key, value in tiny_bert.tensors(bert).items()}
    torch.save(state | {"queue.0": torch.zeros(3), "queue.1": torch.zeros(3)}, tmp_path / "w.pt")
    shutil.copy(bert / "config.json", tmp_path)
    out = tmp_path / "w.weights.h5"
    refused(capsys, ["unexpected: queue.0 (3)"], "port", tmp_path / "w.pt", out)
    assert command("port", tmp_path / "w.pt", out, "--drop", "queue.*") == 0
    assert "left out: queue.0 and 1 more: --drop queue.*" in capsys.readouterr().out
    with pytest.raises(ar.port.CheckpointError, match=r"missing: encoder\.layer\.0\.output\.dense\.bias"):
        ar.port.convert(tmp_path / "w.pt", out, drop=["queue.*", "*.0.output.dense.bias"])


def held(*names: str) -> Checkpoint:
    return Checkpoint(dict.fromkeys(names, Spec((1,), "float32")), lambda name: pytest.fail(f"{name} was read"))


def test_a_prefix_is_a_wrapper_only_around_all_names() -> None:
    assert candidates(["model.a", "model.b"]) == ["", "model."]
    assert candidates(["model.a", "head.b"]) == [""]
    assert candidates(["module.model.a"]) == ["", "module.", "module.model."]
    assert candidates(["model.a", "optimizer.state.0"]) == ["", "model."]


def test_names_that_fit_as_they_are_stay() -> None:
    """A map's own names may begin as a wrapper's do: ``model.layers.0`` of language models."""
    source = held("model.layers.0.a", "model.embed")
    assert opened(source, lambda view: float("model.embed" in view)).prefix == ""
    assert opened(source, lambda view: float("embed" in view)).prefix == "model."
    assert opened(source, lambda view: 1.0).prefix == ""
    assert opened(source, lambda view: None).prefix == "model."


def test_the_state_of_training_is_taken_for_no_model(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many tensors of an optimizer a file has, they are not names that a map knows."""
    import torch

    state = {key: torch.from_numpy(value) for key, value in tiny_bert.tensors(bert).items()}
    adam = torch.optim.Adam(parameters := [torch.nn.Parameter(torch.ones(2)) for _ in range(90)])
    for parameter in parameters:
        parameter.grad = torch.ones(2)
    adam.step()
    torch.save({"net": {"strange": state["pooler.dense.bias"]}, "optimizer": adam.state_dict()}, tmp_path / "w.pt")
    texts = ["no map fits by itself (none knows any of its names"]
    refused(capsys, texts, "port", tmp_path / "w.pt", tmp_path / "w.weights.h5")
    refused(capsys, ["no tensor is left"], "port", tmp_path / "w.pt", tmp_path / "w.weights.h5", "--drop", "*")


@pytest.mark.deep
@pytest.mark.parametrize("name", ["last.ckpt", "ddp.pt"])
def test_a_wrapped_model_is_proven(name: str, bert: Path, tmp_path: Path) -> None:
    """transformers does not know the wrapper, and is given the tensors below it."""
    report = ar.port.convert(torch_file(bert, tmp_path / "in", name), tmp_path / "w.weights.h5", verify=True)
    assert report.ok, report.to_json()["proof"]
    assert report.proof
    assert f"on a copy of the tensors below {FILES[name][1]}" in report.proof.ends[0].by


class Asks:
    """An object whose pickle asks for a function of Python's to be called."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it ran",)


def test_an_object_that_is_none_of_training_is_refused_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(3), "args": Asks()}, tmp_path / "w.pt")
    with pytest.raises(ar.port.CheckpointError, match=r"builtins\.print|print"), ar.port.read(tmp_path / "w.pt"):
        pass
    assert "it ran" not in capfd.readouterr().out
