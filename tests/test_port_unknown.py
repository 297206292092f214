"""A checkpoint that no map knows goes by way of its module: ``attn-ref port FILE OUT --with module:Class``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_port import command
from test_port_requests import refused

import attn_ref as ar

MODULE = """
import math
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self, width=8, heads=2):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))
        w = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(c // self.heads), -1)
        return self.out((w @ v).transpose(1, 2).reshape(b, t, c))

class Other(nn.Module):
    def __init__(self, act="relu"):
        super().__init__()
        self.first, self.second, self.act = nn.Linear(8, 5), nn.Linear(5, 8), act

    def forward(self, x):
        h = self.first(x)
        return self.second(torch.relu(h) if self.act == "relu" else torch.tanh(h))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))

class Sequential(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 8))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of someone's own layer as training left it, its module, and an example."""
    torch = pytest.importorskip("torch")
    (tmp_path / "mine.py").write_text(MODULE)
    torch.manual_seed(0)
    shapes = {"qkv.weight": (24, 8), "qkv.bias": (24,), "out.weight": (8, 8), "out.bias": (8,)}
    state = {f"module.{name}": torch.randn(shape) for name, shape in shapes.items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "mine.pt")
    shapes = {"first.weight": (5, 8), "first.bias": (5,), "second.weight": (8, 5), "second.bias": (8,)}
    torch.save({name: torch.randn(shape) for name, shape in shapes.items()}, tmp_path / "other.pt")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(2, 5, 8)))
    return tmp_path


def test_onto_the_mirror_of_a_block(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    out = folder / "w.safetensors"
    told = ["--with", f"{folder}/mine.py:Mine", "--example", folder / "x.npy"]
    block = ["--block", "MultiHeadAttention", "--set", "width=8", "--set", "num_heads=2"]
    assert command("port", folder / "mine.pt", out, *told, *block) == 0
    said = capsys.readouterr().out
    assert "opened: the 4 names below state_dict.module." in said
    assert "qkv.weight" in said
    held, w = ar.port.load(out)
    assert held == ar.MultiHeadAttention(width=8, num_heads=2)
    state = torch.load(folder / "mine.pt", weights_only=True)["state_dict"]
    x = np.load(folder / "x.npy")
    q, k, v = np.split(
        x @ state["module.qkv.weight"].double().numpy().T + state["module.qkv.bias"].double().numpy(), 3, -1
    )
    q, k, v = (part.reshape(2, 5, 2, 4).swapaxes(1, 2) for part in (q, k, v))
    scores = np.exp(q @ k.swapaxes(-1, -2) / 2)
    mixed = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(2, 5, 8)
    want = mixed @ state["module.out.weight"].double().numpy().T + state["module.out.bias"].double().numpy()
    got = held({name: value.astype(np.float64) for name, value in w.items()}, query=x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_onto_another_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from safetensors.torch import load_file

    out = folder / "w.safetensors"
    told = [
        "--with",
        f"{folder}/mine.py:Other",
        "--example",
        folder / "x.npy",
        "--onto",
        f"{folder}/mine.py:Sequential",
    ]
    assert command("port", folder / "other.pt", out, *told) == 0
    state = torch.load(folder / "other.pt", weights_only=True)
    assert {name: x.tolist() for name, x in load_file(out).items()} == {
        new: state[old].tolist()
        for new, old in {"0.weight": "first.weight", "0.bias": "first.bias", "2.weight": "second.weight",
                         "2.bias": "second.bias"}.items()
    }  # fmt: skip
    out.unlink()
    assert command("port", folder / "other.pt", out, *told, "--init", "act=tanh") == 1
    assert "was not written" in capsys.readouterr().out
    assert not out.exists()


def test_what_does_not_fit_is_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, module = folder / "w.safetensors", f"{folder}/mine.py:Mine"
    told = ["--with", module, "--example", folder / "x.npy", "--block", "MultiHeadAttention", "--set", "width=8"]
    texts = ["does not hold the weights of this Mine", "missing: qkv.weight (24, 8)", "unexpected: first.weight (5, 8)"]
    refused(capsys, texts, "port", folder / "other.pt", out, *told, "--set", "num_heads=2")
    texts = ["wrong shape: qkv.weight should be (12, 4), got (24, 8)"]
    refused(capsys, texts, "port", folder / "mine.pt", out, *told, "--init", "width=4")
    refused(capsys, ["--with has no map, so --to"], "port", folder / "mine.pt", out, *told, "--to", "torch")
    refused(capsys, ["takes --example FILE"], "port", folder / "mine.pt", out, "--with", module)
    refused(capsys, ["go with --with"], "port", folder / "mine.pt", out, "--block", "FeedForward")
    refused(capsys, ["which is read"], "port", folder / "mine.pt", folder / "mine.pt", *told)
    (folder / "bad.pt").write_bytes(b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    refused(capsys, ["bad.pt"], "port", folder / "bad.pt", out, *told, "--set", "num_heads=2")
    assert not out.exists()


def test_two_tensors_of_one_parameter_are_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    weight, told = torch.randn(8, 8), ["--with", f"{folder}/mine.py:Tied", "--example", folder / "x.npy"]
    state = {"first.weight": weight, "second.weight": weight + 1, "first.bias": weight[0], "second.bias": weight[1]}
    torch.save(state, folder / "tied.pt")
    told += ["--onto", f"{folder}/mine.py:Tied"]
    texts = ["first.weight and second.weight are one parameter of the module, and two in the file"]
    refused(capsys, texts, "port", folder / "tied.pt", folder / "w.safetensors", *told)
