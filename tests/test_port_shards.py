"""Checkpoints in shards, as transformers and Keras write them, and as the porter does; and what real folders hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from test_port import BERT, command
from test_port_requests import refused

import attn_ref as ar
from attn_ref.port.sharded import divided, parse_size

pytestmark = pytest.mark.xdist_group("hugging face")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")


def torch_shards(bert: Path, folder: Path, count: int = 3) -> Path:
    """As ``save_pretrained(safe_serialization=False)`` wrote them up to transformers 4."""
    import torch

    folder.mkdir()
    state = {key: torch.from_numpy(value) for key, value in tiny_bert.tensors(bert).items()}
    names = {key: f"pytorch_model-{i % count + 1:05}-of-{count:05}.bin" for i, key in enumerate(state)}
    for shard in set(names.values()):
        torch.save({key: value for key, value in state.items() if names[key] == shard}, folder / shard)
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    shutil.copy(bert / "config.json", folder)
    return folder


def test_torch_shards_are_read_one_at_a_time(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = torch_shards(bert, tmp_path / "in")
    ar.port.convert(source, tmp_path / "w.safetensors", to=BERT)
    assert tiny_bert.same_bits(tiny_bert.tensors(bert), tiny_bert.tensors(tmp_path / "w.safetensors"))
    from attn_ref_torch import checkpoint

    with checkpoint.read(source / "pytorch_model.bin.index.json", "torch_pt") as whole:
        dict(whole)
        assert checkpoint.shard.cache_info().currsize == 1


def test_safetensors_are_written_in_shards_that_transformers_loads(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import transformers

    folder = tmp_path / "out"
    folder.mkdir()
    arguments = ("port", bert, folder / "model.safetensors", "--to", BERT, "--shard-size", "4KB")
    assert command(*arguments) == 0
    said = capsys.readouterr().out
    shards = sorted(path.name for path in folder.iterdir())
    count = len(shards) - 1
    assert f"wrote {folder / 'model.safetensors.index.json'} and its {count} shards" in said
    assert shards == [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)] + [shards[-1]]
    index = json.loads((folder / shards[-1]).read_text())
    given = tiny_bert.tensors(bert)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in given.values())
    shutil.copy(bert / "config.json", folder)
    there = transformers.BertModel.from_pretrained(folder).state_dict()
    assert all(np.array_equal(there[key].numpy(), value) for key, value in given.items())
    ar.port.convert(folder, tmp_path / "back.safetensors", to=BERT, shard_size="1GB")
    assert tiny_bert.same_bits(given, tiny_bert.tensors(tmp_path / "back.safetensors"))


def test_shards_replace_no_file(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text("mine")
    to = ("--to", BERT, "--shard-size", "4KB")
    refused(capsys, ["is there, and shards replace no file"], "port", bert, out, *to)
    (tmp_path / "model.safetensors.index.json").unlink()
    refused(capsys, ["only .safetensors is written in shards"], "port", bert, tmp_path / "a.npz", "--shard-size", "4KB")
    refused(capsys, ["a size of shards is a number of bytes"], "port", bert, out, "--to", BERT, "--shard-size", "many")
    plan = tmp_path / "model.safetensors.index.json"
    refused(capsys, ["each needs a file of its own"], "port", bert, out, *to, "--plan", plan)


def test_a_failure_between_shards_leaves_nothing(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(done: int, total: int, what: str) -> None:
        if done > 5000:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        ar.port.convert(bert, tmp_path / "model.safetensors", to=BERT, shard_size=4000, on_progress=fail)
    assert list(tmp_path.iterdir()) == []
    import os

    plain, calls = os.rename, []

    def rename(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == 3:
            raise OSError("no more")
        plain(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError, match="no more"):
        ar.port.convert(bert, tmp_path / "model.safetensors", to=BERT, shard_size=4000)
    assert list(tmp_path.iterdir()) == []


def test_sizes() -> None:
    specs = {name: ar.port.Spec((size,), "float64") for name, size in {"a": 2, "b": 1, "c": 9, "d": 1}.items()}
    assert divided(specs, 24) == [["a", "b"], ["c"], ["d"]]
    assert divided(specs, 1000) == [["a", "b", "c", "d"]]
    assert (parse_size("2GiB"), parse_size(17)) == (2 << 30, 17)
    for wrong in ("0", "-5GB", "5 gigs", ""):
        with pytest.raises(ValueError, match="a size of shards is"):
            parse_size(wrong)


@pytest.mark.deep
@pytest.mark.parametrize("to", ["torch", BERT])
def test_written_shards_are_proven(to: str, bert: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    report = ar.port.convert(bert, tmp_path / "out" / "m.safetensors", to=to, shard_size="4KB", verify=True)
    assert report.ok, report.to_json()["proof"]
    assert ar.port.convert(tmp_path / "out", tmp_path / "w.weights.h5", verify=True).ok


# folders --------------------------------------------------------------------------------------------------------------


def test_of_two_formats_one_is_taken_and_said(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    folder = Path(shutil.copytree(bert, tmp_path / "both"))
    torch.save({}, folder / "pytorch_model.bin")
    assert command("port", folder, tmp_path / "w.npz") == 0
    assert f"model.safetensors is taken of {folder}; not read: pytorch_model.bin" in capsys.readouterr().out


def test_a_trainers_folder(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By transformers' names of what its Trainer saves; none of it is opened."""
    folder = Path(shutil.copytree(bert, tmp_path / "checkpoint-500"))
    (folder / "model.safetensors").rename(folder / "weights.safetensors")  # so that no name is preferred
    names = ["optimizer.pt", "rng_state.pth", "rng_state_1.pth", "scaler.pt", "scheduler.pt", "trainer_state.json"]
    for name in [*names, "training_args.bin"]:
        (folder / name).write_bytes(b"\x80\x04cos\nsystem\n.")
    assert command("port", folder, tmp_path / "w.npz") == 0
    said = ", ".join([*names, "training_args.bin"])
    assert f"left out: {said}: the state of training" in capsys.readouterr().out


def test_shards_without_an_index(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = torch_shards(bert, tmp_path / "in")
    (folder / "pytorch_model.bin.index.json").unlink()
    refused(capsys, ["are shards without an index (….bin.index.json)"], "port", folder, tmp_path / "w.npz")


@pytest.mark.deep
def test_a_run_that_is_killed_leaves_all_shards_or_no_index(tmp_path: Path) -> None:
    """SIGKILL at any time: without its index no shard is taken for a model."""
    import subprocess
    import sys
    import time

    block = ar.FeedForward(width=300, hidden_width=2000)
    told = {"map": "canonical", "block": "FeedForward", "fields": block.fields()}
    ar.port.write(tmp_path / "in.npz", block.init(), told)
    rng, seen = np.random.default_rng(0), {"whole": 0, "nothing": 0}
    for i in range(40):
        folder = tmp_path / f"{i}"
        folder.mkdir()
        program = [sys.executable, "-m", "attn_ref", "port", tmp_path / "in.npz", folder / "m.safetensors"]
        options = ["--to", "canonical", "--shard-size", "1MB"]
        running = subprocess.Popen([*map(str, program), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + rng.uniform(0.3, 4)
        while running.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        running.kill()
        running.wait()
        if (folder / "m.safetensors.index.json").exists():
            with ar.port.read(folder) as checkpoint:
                assert all(np.array_equal(checkpoint[name], value) for name, value in block.init().items())
            seen["whole"] += 1
        else:
            with pytest.raises(ar.port.CheckpointError, match="it has none"):
                ar.port.read(folder)
            seen["nothing"] += 1
    print(f"40 kills: {seen}")
    assert min(seen.values()) > 3
