"""Files that are hostile, truncated or foreign: one message, exit 2, and no file."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny_bert
from test_port_requests import refused

pytestmark = pytest.mark.xdist_group("hugging face")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")


def safetensors(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def broken(path: Path, bert: Path) -> None:
    """Write the hostile, truncated or foreign file that ``path`` is named after."""
    whole = (bert / "model.safetensors").read_bytes()
    kind = path.name.split(".")[0]
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            if kind == "external":
                file["layers"] = h5py.ExternalLink("/etc/passwd", "/")
            elif kind == "soft":
                file["layers"] = h5py.SoftLink("/elsewhere")
            elif kind == "loop":
                file["layers"] = file["/"]
            elif kind == "elsewhere":
                file.create_dataset("vars/0", (4,), "f4", external=[("/etc/passwd", 0, 16)])
            elif kind == "bomb":
                file.create_dataset("vars/0", (1 << 40,), "f4", chunks=(1 << 20,))
            elif kind == "words":
                file["vars/0"] = ["a", "b"]
            elif kind == "metadata":
                file.attrs["attn_ref"] = "[" * 100_000
        if kind in ("truncated", "foreign"):
            path.write_bytes(path.read_bytes()[:100] if kind == "truncated" else whole)
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            header = (
                b"\x93NUMPY\x01\x00v\x00"
                + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000,), }".ljust(117)
            )
            archive.writestr("w.npy" if kind == "bomb" else "readme.txt", header + b"\n")
        if kind == "pickle":
            np.savez(path, w=np.array([{}], dtype=object))
        if kind == "truncated":
            np.savez(path, w=np.zeros(99))
            path.write_bytes(path.read_bytes()[:200])
    elif path.suffix == ".pt":
        import torch

        torch.save({"w": os.system} if kind == "hostile" else {"epoch": 3}, path)
    elif path.suffix == ".json":
        shard = {"far": "../model.safetensors", "absent": "shard.safetensors"}.get(kind)
        path.write_text(json.dumps({"weight_map": {"w": shard}} if shard else ["w"]))
    else:
        huge = b'{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
        float8 = b'{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
        told = b'{"__metadata__":{"attn_ref":"{"},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
        path.write_bytes({
            "truncated": whole[:-10], "short": whole[:5], "foreign": b"PK\x03\x04" * 99, "bomb": safetensors(huge),
            "float8": safetensors(float8, b"0"), "metadata": safetensors(told, b"0"), "empty": b"",
        }[kind])  # fmt: skip


FILES = {
    "truncated.safetensors": "cannot be read as safetensors", "short.safetensors": "cannot be read as safetensors",
    "foreign.safetensors": "cannot be read as safetensors", "bomb.safetensors": "cannot be read as safetensors",
    "empty.safetensors": "cannot be read as safetensors", "float8.safetensors": "has dtype F8_E4M3",
    "metadata.safetensors": "metadata 'attn_ref' is not JSON", "far.safetensors.index.json": "shards lie beside the",
    "absent.safetensors.index.json": "lists shard.safetensors, which is not beside it",
    "list.safetensors.index.json": "should be a JSON",
    "external.weights.h5": "ExternalLink; links are not followed", "soft.weights.h5": "SoftLink; links are not",
    "loop.weights.h5": "contains itself", "elsewhere.weights.h5": "stored in another file",
    "bomb.weights.h5": "for vars/0; at most 50 times its size", "words.weights.h5": "only plain numbers are read",
    "metadata.weights.h5": "attn_ref is not JSON", "truncated.weights.h5": "cannot be read as Keras weights",
    "foreign.weights.h5": "cannot be read as Keras weights", "bomb.npz": "its header says 4000128",
    "text.npz": "readme.txt is no .npy entry", "pickle.npz": "only plain numbers are read",
    "truncated.npz": "cannot be read as npz", "hostile.pt": "cannot be read as a torch file of weights only",
    "nested.pt": "holds no tensor, but int at 'epoch'; save model.state_dict()",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_hostile_truncated_or_foreign(
    name: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(tmp_path / name, bert)
    refused(
        capsys,
        [FILES[name], str(tmp_path)],
        "port",
        tmp_path / name,
        tmp_path / "out.weights.h5",
        "--set",
        "num_heads=3",
    )
