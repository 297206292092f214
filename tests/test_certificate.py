"""Certificates of ports: done again they hold, and whatever changed since is found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vit
from test_port import command
from test_port_requests import refused

import attn_ref as ar
from attn_ref.port import recheck


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of canonical weights, the same moved and proven by the reference alone, and the certificate of that."""
    place = tmp_path_factory.mktemp("certified")
    block = ar.FeedForward(width=6, hidden_width=9)
    ar.port.write(place / "a.npz", block.init(), {"map": "canonical", **block.as_data()})
    told = ["--to", "canonical", "--verify", "--certificate", place / "c.json"]
    assert command("port", place / "a.npz", place / "b.safetensors", *told) == 0
    return place


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "certified"))


def test_it_says_what_was_done_and_proven(folder: Path) -> None:
    told = json.loads((folder / "c.json").read_text())
    assert set(told["source"]["files"]) == {"a.npz"}
    assert set(told["target"]["files"]) == {"b.safetensors"}
    assert set(told["target"]["tensors"]) == {"expand.kernel", "expand.bias", "reduce.kernel", "reduce.bias"}
    assert told["versions"]["numpy"] == np.__version__
    assert [(end["taps"], end["first_difference"]) for end in told["proof"]["ends"]] == [(4, None)] * 2
    assert set(told["fields"]["proven"]) == {"width", "hidden_width", "activation", "use_bias", "dropout"}
    assert len(told["plan"]["moves"]) == 4


def test_it_holds_also_where_the_folder_was_moved(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("port", "--check", folder / "c.json") == 0
    assert "the certificate holds" in capsys.readouterr().out
    found = recheck(folder / "c.json")  # which is not where it was made
    assert found.notes == []


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_one_changed_byte_is_found_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (folder / "b.safetensors").read_bytes()
    flipped(folder / "b.safetensors", len(whole) - 3)
    assert command("port", "--check", folder / "c.json") == 1
    out = capsys.readouterr().out
    assert "target: " in out
    assert "b.safetensors is not what it was" in out
    last = list(ar.port.read(folder / "b.safetensors"))
    (name,) = [name for name in last if f"changed there: {name}\n" in out]
    now = ar.port.read(folder / "b.safetensors")[name]
    assert not np.array_equal(now, ar.port.read(folder / "a.npz")[name])
    flipped(folder / "a.npz", 200)
    lines = recheck(folder / "c.json").lines
    assert [line.partition(":")[0] for line in lines] == ["source", "source", "target", "target"]


def test_what_is_not_a_byte_of_a_tensor_is_named_too(folder: Path) -> None:
    text = (folder / "b.safetensors").read_bytes()
    (folder / "b.safetensors").write_bytes(
        text.replace(b'"hidden_width', b'"Hidden_width'.lower().replace(b"h", b"H", 1))
    )
    lines = recheck(folder / "c.json").lines
    assert "target: every tensor in it is the same; what lies around them changed" in lines
    (folder / "b.safetensors").unlink()
    (line,) = recheck(folder / "c.json").lines
    assert line.endswith("b.safetensors is gone")


def edited(folder: Path, change: Any) -> Path:
    told = json.loads((folder / "c.json").read_text())
    change(told)
    (folder / "d.json").write_text(json.dumps(told))
    return folder / "d.json"


def test_a_newer_library_is_told_and_not_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = edited(folder, lambda told: told["versions"].update(numpy="1.0"))
    assert command("port", "--check", path) == 0
    assert f"numpy was 1.0, and is {np.__version__}" in capsys.readouterr().out


def test_another_plan_is_named(folder: Path) -> None:
    path = edited(folder, lambda told: told["plan"]["fields"]["activation"].update(value="gelu"))
    assert recheck(path).lines == ["the plan's fields differ at activation"]
    path = edited(folder, lambda told: told["plan"]["moves"].pop())
    assert recheck(path).lines == ["the plan's moves are not as they were"]


def unmet(capsys: pytest.CaptureFixture[str], said: str, *arguments: Any) -> None:
    assert command("port", *arguments) == 2
    assert said in capsys.readouterr().err


def test_bad_requests(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = folder / "a.npz", tmp_path / "x.npz"
    refused(capsys, ["so it needs --verify"], "port", source, target, "--certificate", tmp_path / "c.json")
    assert not target.exists()
    texts = ["cannot be the certificate"]
    refused(capsys, texts, "port", source, target, "--verify", "--certificate", source)
    refused(
        capsys, ["--check takes a certificate and nothing else"], "port", source, target, "--check", folder / "c.json"
    )
    unmet(capsys, "takes SRC and DST, or --check FILE", source)
    unmet(capsys, "no such file", "--check", tmp_path / "none.json")
    for change in (
        lambda told: told.pop("proof"), lambda told: told.update(certificate=2), lambda told: told.update(plan=[]),
        lambda told: told["source"].update(files={"a.npz": 3}), lambda told: told["request"].update(set=3),
        lambda told: told["request"].pop("source"),
    ):  # fmt: skip
        unmet(capsys, "d.json", "--check", edited(folder, change))
    long = "a" * 3000  # longer than a name may be; the system's own error names no certificate
    for change in (
        lambda told: told["request"].update(source=long), lambda told: told["request"].update(target=f"{long}.npz"),
        lambda told: told["source"]["files"].update({long: "0"}),
    ):  # fmt: skip
        with pytest.raises(ar.port.CheckpointError, match=r"d\.json: a file that it names cannot be read") as caught:
            recheck(edited(folder, change))
        assert len(str(caught.value)) < 600
    (folder / "d.json").write_text("[")
    unmet(capsys, "is not JSON", "--check", folder / "d.json")


def test_a_proof_that_fails_gives_no_certificate(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attn_ref.port import verify

    right = verify.reference
    monkeypatch.setattr(
        verify, "reference", lambda plan, source, inputs: right(plan, source, {k: 2 * v for k, v in inputs.items()})
    )
    source, target = folder / "a.npz", tmp_path / "x.npz"
    report = ar.port.convert(source, target, to="canonical", verify=True, certificate=tmp_path / "c.json")
    assert not report.ok
    assert not (tmp_path / "c.json").exists()
    assert not recheck(folder / "c.json").ok


@pytest.mark.deep
def test_a_vit_in_keras_is_certified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tiny_vit.save(tmp_path / "model")
    told = ["--verify", "--certificate", tmp_path / "c.json"]
    assert command("port", source, tmp_path / "w.weights.h5", *told) == 0
    assert command("port", "--check", tmp_path / "c.json") == 0
    certificate = json.loads((tmp_path / "c.json").read_text())
    assert set(certificate["source"]["files"]) == {"model/model.safetensors", "model/config.json"}
    assert certificate["proof"]["ends"][0]["taps"] == 30
    assert certificate["fields"]["believed"] == {}
    flipped(tmp_path / "model" / "config.json", 30)
    assert command("port", "--check", tmp_path / "c.json") == 1
    assert "config.json is not what it was" in capsys.readouterr().out
