"""Damages checkpoints in every format and has them read: ``python tools/fuzz_files.py --files 20000``.

Every damaged file has to be read, or refused by one error of the package that names it and that a terminal can show.
The processes that read files are forked from this one, which has imported the libraries once: the code in them and
their limits are those of the package, and a file takes milliseconds instead of a start of Python.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np

import attn_ref as ar
from attn_ref.port import apart, reader
from attn_ref.port.proof import Proof

#: seconds of processor time that a reader has here; the package gives it more
SECONDS = 4
#: numbers that headers are changed to, because sizes and offsets are where readers go wrong
SPECIAL = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF]


class Forked:
    """What ``subprocess.Popen`` is to the porter: a process that runs the reader, forked instead of started."""

    def __init__(self) -> None:
        questions, answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.dup2(questions[0], 0)
                os.dup2(answers[1], 1)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                os.close(questions[1])
                os.close(answers[0])
                reader.main()
                os._exit(0)
            except BaseException:
                os._exit(1)
        os.close(questions[0])
        os.close(answers[1])
        self.stdin, self.stdout = os.fdopen(questions[1], "wb", 0), os.fdopen(answers[0], "rb", 0)
        self.returncode: int | None = None

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, 9)


def seeds(torch_too: bool) -> dict[str, list[tuple[str, bytes]]]:
    """Format -> (name, bytes) of whole files, each with something of its own. Without torch a fork is quicker."""
    block = ar.MultiHeadAttention(width=4, num_heads=2)
    weights = {name: value.astype("f4") for name, value in block.init().items()}
    metadata = {"map": "canonical", "block": "MultiHeadAttention", "fields": block.fields()}
    found: dict[str, list[tuple[str, bytes]]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("w.npz", "w.safetensors"):
            ar.port.write(Path(folder, name), weights, metadata)
        ar.port.convert(Path(folder, "w.npz"), Path(folder, "w.weights.h5"))
        for name, kind in (("w.npz", "npz"), ("w.safetensors", "safetensors"), ("w.weights.h5", "h5")):
            found[kind].append((name, Path(folder, name).read_bytes()))
    data = io.BytesIO()
    np.savez_compressed(data, **weights, ints=np.arange(300), flags=np.ones((3, 2), bool))
    found["npz"].append(("c.npz", data.getvalue()))
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        data, inner = io.BytesIO(), io.BytesIO()
        np.save(inner, np.arange(900.0).reshape(30, 30).T)
        with zipfile.ZipFile(data, "w", kind) as archive:
            archive.writestr("w.npy", inner.getvalue())
        found["npz"].append(("o.npz", data.getvalue()))
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((2, 2), "V2")
        file["layers/dense/vars/0"].attrs["dtype"] = "bfloat16"
        file.create_dataset(
            "layers/dense/vars/1", data=np.arange(5000), chunks=(512,), compression="gzip", shuffle=True
        )
        file.create_dataset("layers/other/vars/0", data=np.arange(99.0), chunks=True, fletcher32=True)
        file["layers/other"].attrs["name"] = "a" * 90
        file["scalar"], file["big"] = np.float64(3), np.zeros((3, 4), ">f8")
        for i in range(40):
            file[f"many/{i}/vars/0"] = np.full(3, i, "f2")
    found["h5"].append(("c.weights.h5", data.getvalue()))
    data = io.BytesIO()
    with h5py.File(data, "w", libver="latest") as file:
        for i in range(12):
            file.create_dataset(
                f"layers/l{i}/vars/0", data=np.arange(200.0), chunks=(64,), compression="lzf", maxshape=(None,)
            )
            file[f"layers/l{i}"].attrs["x"] = np.arange(30)
    found["h5"].append(("n.weights.h5", data.getvalue()))
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", kind) as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", found["h5"][0][1])
        found["keras"].append(("w.keras", data.getvalue()))
    if not torch_too:
        return found
    import torch

    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    state |= {
        "half": torch.ones(3).bfloat16(),
        "ints": torch.arange(4),
        "part": torch.arange(12.0).reshape(3, 4)[:, 1:],
    }
    adam = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    run = {
        "state_dict": {f"model.{name}": value for name, value in state.items()},
        "optimizer_states": [adam],
        "epoch": 3,
    }
    for new in (True, False):
        for name, held in (("w.pt", state), ("w.ckpt", run)):
            data = io.BytesIO()
            torch.save(held, data, _use_new_zipfile_serialization=new)
            found["torch"].append((name, data.getvalue()))
    return found


def keras_2() -> list[tuple[str, bytes]]:
    """A file of Keras 2's: groups of layers, and the names of the weights as attributes."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for i in range(6):
            group = file.create_group(f"model_weights/dense_{i}")
            group.attrs["weight_names"] = [f"dense_{i}/kernel:0", f"dense_{i}/bias:0"]
            group[f"dense_{i}/kernel:0"], group[f"dense_{i}/bias:0"] = np.ones((3, 4), "f4"), np.zeros(4, "f2")
        file["model_weights"].attrs["layer_names"] = [f"dense_{i}" for i in range(6)]
        file["optimizer_weights/iterations:0"] = np.int64(3)
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential"})
    return [("w.h5", data.getvalue())]


def shards(kind: str, folder: Path) -> str:
    """Two shards and their index, in ``folder``; the index's name."""
    arrays = {f"layers/l{i}/vars/0": np.arange(6.0 + i) for i in range(4)}
    halves = [dict(list(arrays.items())[:2]), dict(list(arrays.items())[2:])]
    ending, name = {
        "torch shards": (".bin", "pytorch_model.bin.index.json"),
        "keras shards": (".weights.h5", "model.weights.json"),
        "safetensors shards": (".safetensors", "model.safetensors.index.json"),
    }[kind]
    weight_map: dict[str, Any] = {}
    for i, half in enumerate(halves):
        shard = folder / f"model_{i}{ending}"
        if ending == ".bin":
            import torch

            torch.save({key: torch.from_numpy(value) for key, value in half.items()}, shard)
        else:
            ar.port.write(shard, half)
        if ending == ".weights.h5":
            weight_map |= {f"/{key.rpartition('/')[0]}": [shard.name] for key in half}
        else:
            weight_map |= dict.fromkeys(half, shard.name)
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return name


def tensorflow(folder: Path) -> str:
    """A checkpoint of TensorFlow's, in ``folder``; the name of its index."""
    import attn_ref_keras.checkpoint  # noqa: F401  (so that whoever is forked has it)
    import tensorflow as tf

    module = tf.Module()
    module.half = tf.Variable(tf.ones(3, tf.bfloat16))
    module.many = [tf.Variable(tf.ones((3, i + 1))) for i in range(20)]
    tf.train.Checkpoint(model=module).write(str(folder / "w"))
    return "w.index"


def certificate(folder: Path) -> str:
    """A port of a layer with its certificate, in ``folder``; the certificate's name. Nothing is run for its proof."""
    from attn_ref.port.certificate import write_certificate

    block = ar.MultiHeadAttention(width=4, num_heads=2)
    told = {"map": "canonical", "block": "MultiHeadAttention", "fields": block.fields()}
    ar.port.write(folder / "w.npz", block.init(), told)
    request = {"from": None, "to": "torch", "set": {}, "prefix": None, "drop": []}
    plan = ar.port.convert(folder / "w.npz", folder / "w.safetensors", to="torch").plan
    with ar.port.read(folder / "w.npz") as source:
        write_certificate(folder / "w.json", plan, Proof(0, {}, []), source, request, None)
    return "w.json"


def rechecked(path: Path) -> None:
    """Check a certificate, up to the running of both ends."""
    module = sys.modules["attn_ref.port.recheck"]  # whose name in the package is that of its function
    with mock.patch.object(module, "prove", return_value=Proof(0, {}, [])):
        ar.port.recheck(path)


#: kinds of which several files stand together -> what writes them, and gives the name of the one that is read
TOGETHER = {
    **{
        f"{kind} shards": (lambda folder, kind=kind: shards(f"{kind} shards", folder))
        for kind in ("torch", "keras", "safetensors")
    },
    "tensorflow": tensorflow,
    "certificate": certificate,
}


def config_seeds() -> list[tuple[str, bytes]]:
    """What stands in JSON beside the weights, of a small BERT without its weights' values."""
    config = {
        "model_type": "bert", "vocab_size": 5, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 6, "max_position_embeddings": 7, "type_vocab_size": 2, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    }  # fmt: skip
    return [("config.json", json.dumps(config).encode()), ("model.safetensors.index.json", b"")]


def bert(folder: Path) -> None:
    """The weights that ``config_seeds`` belongs to, in two shards."""
    block = ar.TextEncoder(
        vocab_size=5, max_length=7, num_segments=2, width=4, num_layers=1, num_heads=2, hidden_width=6, dropout=0.1,
        attention_dropout=0.1,
    )  # fmt: skip
    fields = {"map": "canonical", "block": "TextEncoder", "fields": block.fields()}
    ar.port.write(folder / "in.npz", block.init(), fields)
    ar.port.convert(folder / "in.npz", folder / "all.safetensors", to="hf.BertModel")
    with ar.port.read(folder / "all.safetensors") as whole:
        tensors = dict(whole)
    names = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for shard in set(names.values()):
        ar.port.write(folder / shard, {name: value for name, value in tensors.items() if names[name] == shard})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "in.npz").unlink()
    (folder / "all.safetensors").unlink()


def damaged(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """``data`` with one to a few faults, half of them near the beginning, where headers are."""
    text = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not text:
            break
        end = len(text) if rng.random() < 0.5 else min(len(text), rng.choice((64, 512, 4096)))
        at, kind = rng.randrange(end), rng.randrange(9)
        if kind <= 1:
            text[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            text[at] = rng.choice((0, 0xFF, 0x7F, 0x80, rng.randrange(256)))
        elif kind <= 4:
            width = rng.choice((1, 2, 4, 8))
            value = (rng.choice(SPECIAL) + rng.choice((-1, 0, 0, 1))) % (1 << 8 * width)
            text[at : at + width] = value.to_bytes(width, "little")
        elif kind == 5:
            del text[at:]
        elif kind == 6:
            del text[at : at + rng.choice((1, 8, 100))]
        elif kind == 7:
            text[at:at] = text[max(0, at - rng.choice((1, 16, 300))) : at]
        else:
            start = rng.randrange(max(1, len(other)))
            text[at : at + 64] = other[start : start + 64]
    return bytes(text)


def twisted(value: Any, rng: random.Random) -> Any:
    """JSON with one of its values, or names, replaced by something that nobody expects."""
    odd = [
        None,
        True,
        -1,
        0,
        10**9,
        10**30,
        1e308,
        "",
        "\x1b[31m",
        "a" * 3000,
        [],
        {},
        [[]],
        ["x"],
        "../x",
        "/etc/passwd",
    ]
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        if rng.random() < 0.15:
            return {**{k: v for k, v in value.items() if k != name}, str(rng.choice(odd)): value[name]}
        return {**value, name: twisted(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        i = rng.randrange(len(value))
        return [*value[:i], twisted(value[i], rng), *value[i + 1 :]]
    return rng.choice(odd)


def one(kind: str, name: str, data: bytes, other: bytes, folder: Path, rng: random.Random) -> bytes:
    """A damaged file's bytes."""
    if kind == "safetensors" and rng.random() < 0.5:
        length = int.from_bytes(data[:8], "little")
        header = json.dumps(twisted(json.loads(data[8 : 8 + length]), rng)).encode()
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    if (kind == "json" or name.endswith(".json")) and rng.random() < 0.7:
        return json.dumps(twisted(json.loads(data), rng)).encode()
    return damaged(data, other, rng)


def run(job: tuple[str, int, int]) -> tuple[str, collections.Counter[str], list[str], float]:
    """Read ``count`` damaged files of one kind; what came of them, what is wrong, and the largest memory in MB."""
    kind, count, seed = job
    apart.start, reader.SECONDS, apart.SECONDS = (lambda scratch: Forked()), SECONDS, SECONDS
    known = {"keras 2": keras_2()} if kind == "keras 2" else {}
    known = known or (seeds(kind == "torch") if kind != "json" and kind not in TOGETHER else {})
    rng, counts, wrong = random.Random(f"{kind} {seed}"), collections.Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "json":
            bert(folder)
            files = config_seeds()
            files[1] = (files[1][0], (folder / files[1][0]).read_bytes())
            for file, data in files:
                (folder / file).write_bytes(data)
        elif kind in TOGETHER:
            entrance = folder / TOGETHER[kind](folder)
            files = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
        else:
            files = known[kind]
        for _ in range(count):
            file, data = rng.choice(files)
            path = folder / file
            source = entrance if kind in TOGETHER else path
            path.write_bytes(one(kind, file, data, rng.choice(files)[1], folder, rng))
            begun = time.monotonic()
            try:
                if kind == "json":
                    ar.port.load(folder)
                elif kind == "certificate":
                    rechecked(source)
                else:
                    with ar.port.read(source) as checkpoint:
                        dict(checkpoint)
                        _ = checkpoint.block
                counts["read"] += 1
            except ar.port.CheckpointError as error:
                text = str(error)
                counts["refused"] += 1
                counts["the reader crashed"] += "crashed on it" in text
                counts["the reader ran out of time"] += "of processor time" in text or "took longer" in text
                counts["the reader ran out of memory"] += "more memory than" in text
                plain = all(line.isprintable() for line in text.split("\n"))
                if len(text) > 40_000 or not plain or str(folder) not in text:
                    wrong.append(f"{kind}: a text of {len(text)} characters: {text[:300]!a}")
            except ValueError as error:  # of the block that a file describes
                counts["refused"] += 1
                if len(str(error)) > 40_000:
                    wrong.append(f"{kind}: a text of {len(str(error))} characters")
            except Exception as error:
                wrong.append(f"{kind}: {type(error).__name__}: {str(error)[:300]!a}")
                kept = Path(tempfile.gettempdir(), f"fuzz-{kind}-{len(wrong)}-{seed}-{path.name}")
                kept.write_bytes(path.read_bytes())
            counts["slower than 30 s"] += time.monotonic() - begun > 30
            if kind == "json" or kind in TOGETHER:
                path.write_bytes(data)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1e3
    return kind, counts, wrong, peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="damaged files of each kind")
    parser.add_argument("--kind", action="append", help="h5, keras, npz, torch, safetensors, json …; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    there = (kind for kind in TOGETHER if kind == "certificate" or find_spec(kind.split()[0]) is not None)
    others = ["json", "keras 2", *there]
    kinds, chunk = args.kind or [*seeds(find_spec("torch") is not None), *others], 500
    jobs = [(k, min(chunk, args.files - at), args.seed + at) for at in range(0, args.files, chunk) for k in kinds]
    totals: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    peaks: dict[str, float] = collections.defaultdict(float)
    wrong: list[str] = []
    lost, begun = 0, time.monotonic()
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        for done, future in enumerate([pool.submit(run, job) for job in jobs]):
            try:
                kind, counts, found, peak = future.result()
            except Exception as error:
                lost += 1
                print(f"lost a process: {jobs[done]}: {error!r}", file=sys.stderr, flush=True)
                continue
            totals[kind] += counts
            peaks[kind] = max(peaks[kind], peak)
            wrong += found
            if sys.stderr.isatty() or done % 20 == 0:
                print(
                    f"{done + 1} of {len(jobs)} chunks, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True
                )
    for kind, counts in totals.items():
        told = ", ".join(f"{name} {number}" for name, number in counts.items() if number)
        print(f"{kind:12} {counts['read'] + counts['refused']:7} files: {told}; peak {peaks[kind]:.0f} MB")
    print(f"{sum(c['read'] + c['refused'] for c in totals.values())} files, {len(wrong)} wrong, {lost} processes lost")
    for line in wrong[:50]:
        print("  " + line)
    return int(bool(wrong or lost))


if __name__ == "__main__":
    sys.exit(main())
