"""Files that crash libraries, hang them or fill the machine: one message that names file and tensor, exit 2, no file.

Each was seen to crash, hang, be believed or end in a traceback at 5cfb540.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pace import pace
from safetensors.numpy import save_file
from test_port import command
from test_port_requests import refused

import attn_ref as ar
from attn_ref.port import apart
from attn_ref.port.checkpoint import MOST, Checkpoint, CheckpointError, Spec
from attn_ref.port.choose import source_map


def npy(header: bytes = b"", version: tuple[int, int] = (1, 0), claims: int | None = None) -> bytes:
    """The beginning of a .npy entry whose header claims to be ``claims`` bytes long."""
    length = len(header) if claims is None else claims
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", length) + header


def archive(path: Path, *members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, data in members:
            file.writestr(name, data)


def damaged(path: Path, kind: int) -> None:
    """A compressed entry with a byte in the middle of its stream changed."""
    data = io.BytesIO()
    np.save(data, np.random.default_rng(0).integers(0, 9, 4000))
    archive(path, ("w.npy", data.getvalue()), kind=kind)
    text = bytearray(path.read_bytes())
    for at in range(len(text) // 2, len(text) // 2 + 40):
        text[at] ^= 0xFF
    path.write_bytes(text)


def twice_linked(path: Path) -> None:
    """50 groups, each linked twice in the one before: 2⁵⁰ paths."""
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(50):
            group["a"] = group.create_group("b")
            group = group["b"]
        group["w"] = np.zeros(3)


def keras(path: Path, *, twice: bool = False, compressed: bool = False) -> None:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((1 << 10) if compressed else 3)
    inside = data.getvalue()
    if compressed:  # 300 MB of zeros behind it
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
            file.open("model.weights.h5", "w") as member,
        ):
            member.write(inside)
            for _ in range(300):
                member.write(bytes(1 << 20))
        return
    with pytest.warns(UserWarning, match="Duplicate name") if twice else nullcontext():
        archive(path, *[("model.weights.h5", inside)] * (1 + twice), kind=zipfile.ZIP_STORED)


def claims_bfloat16(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["vars/0"] = np.zeros(4, "f4")
        file["vars/0"].attrs["dtype"] = "bfloat16"


def gzipped(path: Path, *, damage: bool = False) -> None:
    """A chunk that unpacks to zeros; with ``damage`` its stream is broken."""
    with h5py.File(path, "w") as file:
        data: Any = np.random.default_rng(0).integers(0, 3, 50_000) if damage else 0.0
        shape = (50_000,) if damage else (1 << 27,)
        kept = file.create_dataset("vars/0", shape, data=data if damage else None, chunks=True, compression="gzip")
        if damage:
            where = kept.id.get_chunk_info(0).byte_offset + 200
    if damage:
        text = bytearray(path.read_bytes())
        text[where : where + 50] = bytes(50)
        path.write_bytes(text)


def torch_file(path: Path, make: Callable[[Any], Any]) -> None:
    import torch

    torch.save({"w": make(torch)}, path)


def told(path: Path, **fields: Any) -> None:
    metadata = {"map": "canonical", "block": fields.pop("block"), "fields": fields}
    ar.port.write(path, {"w": np.zeros(3)}, metadata)


#: a name with a terminal's escapes in it, as JSON writes it
ESCAPES = "\x1b[2J\x1b]0;mine\x07"


def escapes(path: Path) -> None:
    save_file({f"a{ESCAPES}": np.zeros(3)}, path)


FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "header.npz": (
        lambda p: archive(p, ("w.npy", npy(b" " * 100, (2, 0), (1 << 32) - 1))),
        "w has a header of 4294967295 bytes; at most 65536 are read",
    ),
    "many.npz": (
        lambda p: archive(p, ("w.npy", npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1073741824,), }\n"))),
        "w has 77 bytes, its header says",
    ),
    "negative.npz": (
        lambda p: archive(p, ("w.npy", npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}\n"))),
        "w has",
    ),
    "end.npz": (lambda p: archive(p, ("w.npy", npy()[:7])), "w cannot be read as npz"),
    "links.weights.h5": (twice_linked, "is linked twice, or contains itself"),
    "bfloat16.weights.h5": (claims_bfloat16, "vars/0 says that it is bfloat16, and is stored as float32"),
    "bomb.weights.h5": (gzipped, "bytes and announces 536870912, 536870912 of them for vars/0"),
    "twice.keras": (lambda p: keras(p, twice=True), "two members are called 'model.weights.h5'"),
    "bomb.keras": (lambda p: keras(p, compressed=True), "model.weights.h5 unpacks from"),
    "nothing.keras": (lambda p: archive(p, ("config.json", b"{}")), "has no member model.weights.h5"),
    "advice.pt": (lambda p: torch_file(p, lambda t: os.system), "it names posix.system, which is no tensor"),
    "branches.npz": (
        lambda p: told(p, block="SelectiveKernel", channels=8, groups=2, branches=10**8),
        "branches = 100000000, and the file holds no more than 1 tensors",
    ),
    "layers.npz": (
        lambda p: told(
            p, block="TextEncoder", vocab_size=5, max_length=5, num_segments=1, width=4, num_layers=900, num_heads=2,
            hidden_width=4,
        ),
        "num_layers = 900, and the file holds no more than 1 tensors",
    ),
    "escapes.safetensors": (escapes, r"a tensor is called 'a\x1b[2J\x1b]0;mine\x07'; names are printable text"),
    "long.safetensors": (lambda p: save_file({"a" * 5_000_000: np.zeros(3)}, p), "names are printable text of 1 to"),
    "text.npz": (lambda p: np.savez(p, w=np.array(["a"])), "w holds <U1; only plain numbers are read"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One message that names file and tensor, and that a terminal can show."""
    make, text = FILES[name]
    make(tmp_path / name)
    said = refused(capsys, [text, name.split(".")[0]], "port", tmp_path / name, tmp_path / "out.weights.h5")
    assert len(said) < 5000
    assert all(line.isprintable() for line in said.split("\n"))


STREAMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "broken.npz": (lambda p: damaged(p, zipfile.ZIP_DEFLATED), "w cannot be read as npz"),
    "bzip.npz": (lambda p: damaged(p, zipfile.ZIP_BZIP2), "w cannot be read as npz"),
    "lzma.npz": (lambda p: damaged(p, zipfile.ZIP_LZMA), "w cannot be read as npz"),
    "stored.npz": (lambda p: damaged(p, zipfile.ZIP_STORED), "w has another CRC-32 than the file says"),
    "stream.weights.h5": (lambda p: gzipped(p, damage=True), "vars/0 cannot be read as Keras weights"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_broken_stream_is_told_with_its_tensor(name: str, tmp_path: Path) -> None:
    make, text = STREAMS[name]
    make(tmp_path / name)
    with pytest.raises(CheckpointError, match=re.escape(text)), ar.port.read(tmp_path / name) as checkpoint:
        dict(checkpoint)


TORCH: dict[str, tuple[Callable[[Any], Any], str]] = {
    "stride": (lambda t: t.zeros(1).expand(10**12), "a tensor (1000000000000,) that repeats 4 stored bytes (stride 0)"),
    "meta": (lambda t: t.zeros(5, device="meta"), "a tensor on device meta, which has no numbers"),
    "sparse": (lambda t: t.eye(3).to_sparse(), "a tensor of layout sparse_coo"),
    "complex": (lambda t: t.zeros(3, dtype=t.complex64), "a tensor of dtype complex64"),
    "quantised": (lambda t: t.quantize_per_tensor(t.zeros(3), 0.1, 0, t.qint8), "a quantised tensor"),
    "inside": (
        lambda t: [t.zeros(0), {"x": t.zeros(1).expand(99)}],
        "a tensor (99,) that repeats 4 stored bytes (stride 0)",
    ),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
@pytest.mark.parametrize("kind", TORCH)
def test_a_tensor_without_numbers_of_its_own_is_refused(kind: str, tmp_path: Path) -> None:
    """By what the reader's process calls; that process starts torch, which takes seconds, in the tests above alone."""
    torch = pytest.importorskip("torch")
    from attn_ref_torch.checkpoint import read

    make, text = TORCH[kind]
    torch.save({"w": make(torch)}, tmp_path / "w.pt")
    where = "w.1.x" if kind == "inside" else "w"
    with pytest.raises(CheckpointError, match=re.escape(f"w.pt holds {text} at {where!r}; save model.state_dict()")):
        read(tmp_path / "w.pt", "torch_pt")


def test_what_ends_the_reader_ends_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that crashes, hangs, ends the process, prints or eats memory, in place of the one that reads npz."""
    source = tmp_path / "w.npz"
    np.savez(source, w=np.zeros(3))
    ways = {
        "import ctypes; ctypes.string_at(0)": "the library that reads this format crashed on it (SIGSEGV)",
        "import os; os._exit(3)": "crashed on it (exit code 3)",
        "while True: pass": "more than 1 s of processor time",
        "import time; time.sleep(99)": "reading it took longer than 3 s",
        "x = [bytearray(1 << 34) for _ in range(200)]": "takes more memory than it may",
        "raise EOFError('no more')": "EOFError: no more",
        "print('{' * 99); raise SystemExit(0)": "exit code 0",
    }
    monkeypatch.setattr(apart, "SECONDS", 0.5)
    monkeypatch.setattr(apart, "PATIENCE", 6)
    for code, text in ways.items():
        program = (
            "import attn_ref.port.formats.npz as npz, attn_ref.port.reader as reader, os\n"
            f"def read(path):\n    {code}\n"
            "npz.read = read\nreader.main()\n"
        )
        plain = subprocess.Popen

        def start(command: list[str], program: str = program, plain: Any = plain, **options: Any) -> Any:
            return plain([sys.executable, "-c", program], **options)

        with monkeypatch.context() as patch:
            patch.setattr(apart.subprocess, "Popen", start)
            with pytest.raises(CheckpointError) as caught:
                ar.port.read(source)
        assert text in str(caught.value), code
        assert str(source) in str(caught.value), code


def test_a_reader_finds_what_its_parent_finds(tmp_path: Path) -> None:
    """Also where the package is found by the folder that a program is started in."""
    np.savez_compressed(tmp_path / "w.npz", w=np.arange(3.0))
    program = f"import sys; sys.path = sys.path[1:]; sys.path.append({str(Path(ar.__file__).parents[1])!r})\n"
    program += f"import attn_ref as ar\nwith ar.port.read({str(tmp_path / 'w.npz')!r}) as c: print(c['w'].sum())"
    plain = [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path!r}[1:]\n{program}"]
    done = subprocess.run(plain, capture_output=True, text=True, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    assert (done.stdout, done.stderr) == ("3.0\n", "")


def test_a_reader_ends_with_its_checkpoint_and_with_its_parent(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "w.npz", w=np.arange(3.0))
    with ar.port.read(tmp_path / "w.npz") as checkpoint:
        assert checkpoint["w"].tolist() == [0, 1, 2]
    program = (
        "import attn_ref as ar, os, sys\n"
        f"held = ar.port.read({str(tmp_path / 'w.npz')!r})\n"
        "print(open(f'/proc/self/task/{os.getpid()}/children').read(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    (child,) = done.stdout.split()
    end = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and "attn_ref" in Path(f"/proc/{child}/cmdline").read_text():
        assert time.monotonic() < end, "the reader outlives its parent"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "name", ["w.npz", "w.weights.h5", "w.pt", "w.safetensors", "w.keras", "model.safetensors.index.json"]
)
def test_a_fifo_and_a_device_are_not_waited_for(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / name)
    refused(capsys, ["is no plain file"], "port", tmp_path / name, tmp_path / "out.npz")
    os.remove(tmp_path / name)
    (tmp_path / name).symlink_to("/dev/zero")
    refused(capsys, ["is no plain file"], "port", tmp_path / name, tmp_path / "out.npz")


def test_a_shard_that_is_a_fifo_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "a.safetensors"}}))
    os.mkfifo(tmp_path / "a.safetensors")
    refused(capsys, ["a.safetensors is no plain file"], "port", tmp_path, tmp_path / "out.npz")


def test_names_by_the_ten_thousand_take_seconds() -> None:
    """Each name was tried against every pattern of every spelling of every map: 12 s for as many."""
    names = [f"bert.encoder.layer.{i}.attention.self.query.weight" for i in range(20_000)]
    checkpoint = Checkpoint(dict.fromkeys(names, Spec((2, 2), "float32")), lambda _: np.zeros((2, 2), "f4"))
    checkpoint.format = "safetensors"
    begun = time.process_time()
    assert source_map(checkpoint, None).name == "hf.BertModel"
    assert time.process_time() - begun < 6 * pace()


def test_more_tensors_than_anyone_has_are_refused() -> None:
    specs = dict.fromkeys(map(str, range(MOST + 1)), Spec((1,), "float32"))
    with pytest.raises(CheckpointError, match=f"holds {MOST + 1} tensors; at most {MOST} are read"):
        Checkpoint(specs, lambda _: np.zeros(1))


def test_every_field_that_counts_members_says_so() -> None:
    """What ``Block.counts`` says is what a file's fields are bounded by: one that is left out could fill the memory."""
    for name, cls in ar.blocks().items():
        small = cls.build(cls.example)
        for field, value in small.fields().items():
            if type(value) is not int:
                continue
            more = next(
                (cls.build({**cls.example, field: value * k}) for k in (3, 2) if accepts(cls, field, value * k)), None
            )
            grows = more is not None and len(more.params()) > len(small.params())
            assert grows <= (field in cls.counts), f"{name}.{field} counts members, and {name}.counts does not say so"
        for field, prefix in cls.counts.items():
            assert any(key.startswith(f"{prefix}.0.") for key in small.params()), f"{name}.counts[{field!r}]"


def accepts(cls: type, field: str, value: Any) -> bool:
    try:
        cls.build({**cls.example, field: value})  # type: ignore[attr-defined]
    except ValueError:
        return False
    return True


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from attn_ref.cli import main
sys.argv[:] = ["attn-ref", "port", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("name", ["w.weights.h5", "w.safetensors", "w.npz"])
def test_a_disk_that_fills_ends_with_an_error(name: str, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk; HDF5 crashed when the process ended."""
    block = ar.FeedForward(width=100, hidden_width=300)
    ar.port.write(
        tmp_path / "in.npz", block.init(), {"map": "canonical", "block": "FeedForward", "fields": block.fields()}
    )
    (tmp_path / name).write_bytes(b"what was there")
    to = [] if name.endswith("h5") else ["--to", "canonical"]
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "in.npz"), str(tmp_path / name), *to]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "File too large; it was not written, and what was there is as it was" in done.stderr
    assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (tmp_path / name).read_bytes() == b"what was there"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["in.npz", name])


def test_memory_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    np.savez(tmp_path / "w.npz", w=np.zeros(3))

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(apart, "read_place", fail)
    with (
        ar.port.read(tmp_path / "w.npz") as checkpoint,
        pytest.raises(CheckpointError, match=r"w\.npz: w takes 0 MB, and there is no room for it"),
    ):
        checkpoint["w"]
    monkeypatch.setattr(ar.port, "convert", fail)
    assert command("port", tmp_path / "w.npz", tmp_path / "out.npz") == 2
    assert "there is not enough memory" in capsys.readouterr().err


def test_a_torch_file_gives_the_numbers_of_torch(tmp_path: Path) -> None:
    """A compressed record, or one that is too short, was read as whatever bytes lie there."""
    torch = pytest.importorskip("torch")
    from attn_ref_torch.checkpoint import read

    torch.save({"w": torch.arange(24.0).reshape(4, 6)}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as whole:
        parts = {info.filename: whole.read(info) for info in whole.infolist()}
    short = {name: data[:48] if name.endswith("data/0") else data for name, data in parts.items()}
    archive(tmp_path / "deflated.pt", *parts.items())
    archive(tmp_path / "short.pt", *short.items(), kind=zipfile.ZIP_STORED)
    assert read(tmp_path / "deflated.pt", "torch_pt")["w"].tolist() == np.arange(24.0).reshape(4, 6).tolist()
    with pytest.raises(CheckpointError, match=r"short\.pt cannot be read as a torch file of weights only"):
        read(tmp_path / "short.pt", "torch_pt")


def test_what_config_says_is_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in a config.json ended the command, or had the terminal show a link of the stranger's."""
    block = ar.TextEncoder(**ar.TextEncoder.example)
    told = {"map": "canonical", "block": "TextEncoder", "fields": block.fields()}
    ar.port.write(tmp_path / "in.npz", block.init(), told)
    ar.port.convert(tmp_path / "in.npz", tmp_path / "all.safetensors", to="hf.BertModel")
    (tmp_path / "bert").mkdir()
    with ar.port.read(tmp_path / "all.safetensors") as whole:
        ar.port.write(tmp_path / "bert" / "model.safetensors", whole)
    config = {"model_type": "bert", "num_attention_heads": 4, "hidden_act": "gelu", "layer_norm_eps": "[/foo]\x1b[31m"}
    (tmp_path / "bert" / "config.json").write_text(json.dumps(config))
    assert command("port", tmp_path / "bert", tmp_path / "out.npz", "--set", "eps=1e-12") == 2
    assert r"eps is 1e-12 by --set, and '[/foo]\x1b[31m' by layer_norm_eps" in capsys.readouterr().err


def test_shards_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for i in range(2):
        ar.port.write(
            tmp_path / f"{i}.safetensors", {f"w{i}": np.zeros(3)}, {"block": "FeedForward", "fields": {"width": i}}
        )
    weight_map = {f"w{i}": f"{i}.safetensors" for i in range(2)}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="the shards before it say that they hold different blocks"):
        ar.port.read(tmp_path / "m.safetensors.index.json")


def test_what_cannot_be_kept_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="w is a masked array, whose mask no file would keep"):
        ar.port.write(tmp_path / "w.npz", {"w": np.ma.masked_array(np.ones(2), mask=[True, False])})
    assert not (tmp_path / "w.npz").exists()


@pytest.mark.parametrize(
    "streams", [{"stdout": "closed"}, {"stderr": "closed"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONWARNINGS": "error"}]
)
def test_odd_streams_do_not_change_what_comes_of_it(streams: dict[str, str], tmp_path: Path) -> None:
    """Closed, or unable to say σ and →: there were tracebacks, and exit codes of another outcome."""
    block = ar.FeedForward(width=2, hidden_width=3)
    ar.port.write(
        tmp_path / "in.npz", block.init(), {"map": "canonical", "block": "FeedForward", "fields": block.fields()}
    )
    shut = {"stdout": ">&-", "stderr": "2>&-"}.get(next(iter(streams)), "")
    line = f"{sys.executable} -m attn_ref port in.npz out.weights.h5 {shut}"
    environment = os.environ | {name: value for name, value in streams.items() if name.isupper()}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.weights.h5").exists()
