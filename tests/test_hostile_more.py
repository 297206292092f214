"""Hostile files in the formats that came later: shards, dicts in dicts, Keras 2, TensorFlow; one message, no file."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file
from test_hostile_files import archive
from test_port_requests import refused

import attn_ref as ar
from attn_ref.port.checkpoint import CheckpointError
from attn_ref.port.text import LARGEST

INDICES = {
    "model.safetensors.index.json": ".safetensors", "pytorch_model.bin.index.json": ".bin",
    "model.weights.json": ".weights.h5",
}  # fmt: skip


def index(folder: Path, name: str, weight_map: Any) -> Path:
    (folder / name).write_text(json.dumps({"weight_map": weight_map}))
    return folder / name


#: what stands in an index in place of a shard's name ({} is the ending of shards) -> what is said
NAMES = {
    "../outside{}": "shards lie beside the index and end in",
    "/etc/passwd": "shards lie beside the index and end in",
    "sub/inside{}": "shards lie beside the index and end in",
    "..": "shards lie beside the index and end in",
    "": "shards lie beside the index and end in",
    "other.txt": "shards lie beside the index and end in",
    "a\x1b[2J{}": r"got 'a\x1b[2J",
    "absent{}": "which is not beside it",
    7: "has a 'weight_map' from tensor names to names of files",
    None: "has a 'weight_map' from tensor names to names of files",
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("shard", NAMES)
def test_an_index_names_nothing_but_its_own_shards(
    shard: Any, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ending = INDICES[name]
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for place in (tmp_path / f"outside{ending}", tmp_path / "in" / "sub" / f"inside{ending}"):
        place.write_bytes(b"")
    there = shard.format(ending) if isinstance(shard, str) else shard
    for weight_map in ({"w": there}, {"w": [there]}):
        path = index(tmp_path / "in", name, weight_map)
        refused(capsys, [NAMES[shard]], "port", path, tmp_path / "out.npz", "--from", "canonical")


@pytest.mark.parametrize("name", INDICES)
def test_an_index_that_is_none(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for text in (
        "",
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": []}',
        "[" * 99_999,
        '{"weight_map": {"w": [[]]}}',
    ):
        (folder / name).write_text(text)
        refused(capsys, [name], "port", folder / name, tmp_path / "out.npz")
    shards = {f"w{i}": f"{i}{INDICES[name]}" for i in range(20_000)}
    refused(capsys, ["lists 20000 shards"], "port", index(folder, name, shards), tmp_path / "out.npz")
    with open(folder / name, "wb") as file:
        file.truncate(LARGEST + 1)
    refused(capsys, ["are read as JSON"], "port", folder / name, tmp_path / "out.npz")
    os.remove(folder / name)
    os.mkfifo(folder / f"a{INDICES[name]}")
    path = index(folder, name, {"w": f"a{INDICES[name]}"})
    refused(capsys, ["is no plain file"], "port", path, tmp_path / "out.npz")


def shard(path: Path, **arrays: np.ndarray) -> None:
    """A file with ``arrays`` in the format of its name; a dot in a name is a group of HDF5."""
    if path.name.endswith(".safetensors"):
        save_file(arrays, path)
    elif path.name.endswith(".bin"):
        import torch

        torch.save({name: torch.from_numpy(value) for name, value in arrays.items()}, path)
    else:
        with h5py.File(path, "w") as file:
            for name, value in arrays.items():
                file[f"{name}/vars/0"] = value


@pytest.mark.deep
@pytest.mark.parametrize("name", INDICES)
def test_an_index_that_lies_about_its_shards(name: str, tmp_path: Path) -> None:
    ending = INDICES[name]
    key = "/{}/vars" if ending == ".weights.h5" else "{}"
    shard(tmp_path / f"a{ending}", x=np.zeros(2), y=np.ones(3))
    shard(tmp_path / f"b{ending}", z=np.zeros(2))
    shard(tmp_path / f"c{ending}", x=np.zeros(2))
    told = {
        "an entry more": ({"x": "a", "y": "a", "z": "b", "q": "b"}, "disagree on 1 entries, such as"),
        "a tensor more": ({"x": "a", "z": "b"}, "disagree on 1 entries, such as"),
        "another shard": ({"x": "a", "y": "b", "z": "a"}, "disagree on 2 entries, such as"),
        "twice": ({"x": "a", "y": "a", "z": "b", "q": "c"}, "lies in two shards"),
    }
    for kind, (entries, text) in told.items():
        path = index(tmp_path, name, {key.format(k): f"{v}{ending}" for k, v in entries.items()})
        with pytest.raises(CheckpointError, match=text):
            ar.port.read(path)
        assert kind
    path = index(tmp_path, name, {key.format(k): f"{v}{ending}" for k, v in {"x": "a", "y": "a", "z": "b"}.items()})
    with ar.port.read(path) as checkpoint:
        assert sorted(map(np.sum, checkpoint.values())) == [0, 0, 3]
    whole = (tmp_path / f"b{ending}").read_bytes()
    for data in (b"", whole[: len(whole) // 2], b"PK\x03\x04" * 50):
        (tmp_path / f"b{ending}").write_bytes(data)
        with pytest.raises(CheckpointError, match=re.escape(f"b{ending}")), ar.port.read(path) as checkpoint:
            dict(checkpoint)


# torch ----------------------------------------------------------------------------------------------------------------


class Runs:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.place}",)


def many(torch: Any) -> Any:
    """Lists in lists, each twice in the one around it: 2⁵⁰ paths."""
    inner: Any = [torch.zeros(1)]
    for _ in range(50):
        inner = [inner, inner]
    return inner


def wide(torch: Any) -> Any:
    """The same few values by the million, not deep."""
    inner: Any = list(range(1000))
    for _ in range(3):
        inner = [inner] * 200
    return inner


def endless(torch: Any) -> Any:
    inner: dict[str, Any] = {"w": torch.zeros(1)}
    inner["again"] = inner
    return inner


TORCH: dict[str, tuple[Callable[[Any], Any], str]] = {
    "deep": (many, "holds dicts in dicts at 'model"),
    "wide": (wide, "holds dicts in dicts at 'model"),
    "endless": (endless, "holds dicts in dicts at 'model.again.again"),
    "twice": (lambda torch: {"a.b": torch.zeros(1), "a": {"b": torch.zeros(1)}}, "two tensors called 'model.a.b'"),
    "nothing": (lambda torch: {"lr": 3, "names": ["a"]}, "holds no tensor, but dict at 'model'"),
    "long": (lambda torch: {"k" * 2000: torch.zeros(1)}, "names are printable text"),
    "escape": (lambda torch: {"\x1b[2J": torch.zeros(1)}, r"names are printable text"),
}


@pytest.mark.parametrize("kind", TORCH)
def test_dicts_in_dicts(kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from attn_ref_torch.checkpoint import read

    make, text = TORCH[kind]
    torch.save({"model": make(torch)}, tmp_path / "w.ckpt")
    with pytest.raises(CheckpointError, match=re.escape(text)) as caught:
        read(tmp_path / "w.ckpt", "torch_pt")
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize(
    "name", ["w.ckpt", *(pytest.param(x, marks=pytest.mark.deep) for x in ("w.pth.tar", "w.bin", "shards"))]
)
def test_a_pickle_that_runs_something_is_not_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a dict of a training run, beside tensors, of torch's zip format, of the older one, and as a bare pickle."""
    torch = pytest.importorskip("torch")
    held = {"state_dict": {"w": torch.zeros(2)}, "hyper_parameters": Runs(tmp_path / "was_run")}
    path = tmp_path / "in" / name
    path.parent.mkdir()
    if name == "shards":
        path = index(tmp_path / "in", "pytorch_model.bin.index.json", {"w": "a.bin"})
    target = path.with_name("a.bin") if name == "shards" else path
    for save in (
        lambda: torch.save(held, target),
        lambda: torch.save(held, target, _use_new_zipfile_serialization=False),
        lambda: target.write_bytes(pickle.dumps(held)),
    ):
        save()
        refused(
            capsys, [target.name, "cannot be read as a torch file of weights only"], "port", path, tmp_path / "o.npz"
        )
        assert not (tmp_path / "was_run").exists()
    pickle.loads(pickle.dumps(Runs(tmp_path / "was_run")))  # it would have run
    assert (tmp_path / "was_run").exists()


class Writes:
    """The same by a function of a module whose classes training runs save."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return np.savetxt, (str(self.place), [1.0])


def test_what_stands_for_an_object_does_nothing(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from attn_ref_torch.checkpoint import read

    place = tmp_path / "was_run"
    torch.save({"model": {"w": torch.ones(2)}, "args": Writes(place), "inner": [Writes(place)]}, tmp_path / "w.pt")
    with read(tmp_path / "w.pt", "torch_pt") as checkpoint:
        assert {name: value.tolist() for name, value in checkpoint.items()} == {"model.w": [1, 1]}
        assert checkpoint.left == {"args": "savetxt", "inner": "list"}
    assert not place.exists()
    torch.save({"w": Writes(place)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="holds no tensor, but savetxt at 'w'"):
        read(tmp_path / "w.pt", "torch_pt")
    assert not place.exists()
    pickle.loads(pickle.dumps(Writes(place)))  # it would have run
    assert place.exists()


@pytest.mark.deep
def test_a_torch_file_that_unpacks_to_more_than_it_has(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"w": torch.zeros(80_000_000)}}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole:
        parts = [(info.filename, whole.read(info)) for info in whole.infolist()]
    (tmp_path / "whole.pt").unlink()
    archive(tmp_path / "w.ckpt", *parts)
    assert (tmp_path / "w.ckpt").stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match=r"announces 320000000, 320000000 of them for state_dict\.w"):
        ar.port.read(tmp_path / "w.ckpt")


# Keras 2 --------------------------------------------------------------------------------------------------------------


def old(path: Path, kind: str) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["dense"]
        group = file.create_group("model_weights/dense")
        if kind == "external":
            group["kernel:0"] = h5py.ExternalLink("/etc/passwd", "/")
        elif kind == "soft":
            group["kernel:0"] = h5py.SoftLink("/elsewhere")
        elif kind == "elsewhere":
            group.create_dataset("kernel:0", (4,), "f4", external=[("/etc/passwd", 0, 16)])
        elif kind == "bomb":
            group.create_dataset("kernel:0", (1 << 40,), "f4", chunks=(1 << 20,))
        elif kind == "twice":
            group["kernel:0"] = group["kernel"] = np.zeros(2)
        elif kind == "beside":
            group["kernel"] = np.zeros(2)
            file["dense/kernel"] = np.ones(2)
        elif kind == "words":
            group["kernel:0"] = ["a", "b"]
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:700])


OLD = {
    "external": "ExternalLink; links are not followed", "soft": "SoftLink; links are not",
    "words": "only plain numbers",
    "elsewhere": "stored in another file", "bomb": "for dense/kernel; at most 50 times its size",
    "twice": "two weights are called dense/kernel", "beside": "two weights are called dense/kernel",
    "truncated": "cannot be read as Keras weights",
}  # fmt: skip


@pytest.mark.parametrize("kind", OLD)
def test_hostile_files_of_keras_2(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old(tmp_path / "w.h5", kind)
    refused(capsys, [OLD[kind], "w.h5"], "port", tmp_path / "w.h5", tmp_path / "out.npz")


# TensorFlow -----------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys, numpy as np, tensorflow as tf
from attn_ref_keras.checkpoint import read
from attn_ref.port.checkpoint import CheckpointError
from pathlib import Path
import shutil
folder = Path(sys.argv[1])
v1 = tf.compat.v1
with tf.Graph().as_default():
    v1.get_variable("w", initializer=np.arange(400.0))
    v1.get_variable("c", initializer=np.zeros(3, "complex64")) if sys.argv[2:] else None
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "w"))
index, data = folder / "w.index", folder / "w.data-00000-of-00001"
whole, numbers = index.read_bytes(), data.read_bytes()
def tried(what):
    try:
        with read(index, "tf_checkpoint") as held:
            dict(held)
        print(what, "was read")
    except CheckpointError as error:
        print(what, "refused", str(index) in str(error))
for end in (0, 10, len(whole) // 2, len(whole) - 1):
    index.write_bytes(whole[:end]); tried(f"index {end}")
index.write_bytes(whole)
for end in (0, 100, len(numbers) - 1):
    data.write_bytes(numbers[:end]); tried(f"data {end}")
data.write_bytes(b"x" * len(numbers)); tried("data other")
data.write_bytes(numbers); tried("whole")
"""


@pytest.mark.deep
def test_hostile_tensorflow_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorflow")
    plain = f"import sys; sys.path[:] = {sys.path!r}\n"
    done = subprocess.run([sys.executable, "-c", plain + PROGRAM, str(tmp_path)], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 9, done.stderr
    assert all(line.endswith(" refused True") for line in lines[:-1]), lines
    assert lines[-1] == "whole was read"
    (tmp_path / "w.data-00000-of-00001").unlink()
    texts = ["the file with its numbers, w.data-00000-of-00001, is not beside it"]
    refused(capsys, texts, "port", tmp_path / "w", tmp_path / "out.npz")
    os.mkfifo(tmp_path / "w.data-00000-of-00001")
    refused(capsys, ["is no plain file"], "port", tmp_path / "w.index", tmp_path / "out.npz")


def test_links_among_shards_are_read_and_nothing_is_written_through_them(tmp_path: Path) -> None:
    """Hugging Face's cache is made of links, so they are followed; the file behind one is an input like any other."""
    (tmp_path / "blobs").mkdir()
    save_file({"w": np.zeros(3)}, tmp_path / "blobs" / "1.safetensors")
    (tmp_path / "a.safetensors").symlink_to(tmp_path / "blobs" / "1.safetensors")
    path = index(tmp_path, "model.safetensors.index.json", {"w": "a.safetensors"})
    with ar.port.read(path) as checkpoint, pytest.raises(CheckpointError, match="which is read"):
        ar.port.write(tmp_path / "blobs" / "1.safetensors", checkpoint)
    shutil.rmtree(tmp_path / "blobs")
    with pytest.raises(CheckpointError, match="which is not beside it"):
        ar.port.read(path)


def test_a_header_that_is_not_the_one_that_was_looked_at(tmp_path: Path) -> None:
    """The library looks at the header, and then it is read again for places: between the two the file may change."""
    from attn_ref.port.checkpoint import Spec
    from attn_ref.port.formats.safetensors import placed

    save_file({"x": np.zeros(2, "f4")}, tmp_path / "w.safetensors")
    assert placed(tmp_path / "w.safetensors", {"x": Spec((2,), "float32")})["x"].dtype == "<f4"
    for spec in (Spec((3,), "float32"), Spec((1,), "int64")):
        with pytest.raises(CheckpointError, match="its header says two things of x"):
            placed(tmp_path / "w.safetensors", {"x": spec})
