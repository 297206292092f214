"""What is given to the porter stays, and what it leaves behind is taken for nothing. Each failed at 5cfb540."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_every_block import witnessed
from test_port import command

import attn_ref as ar
from attn_ref.models.text_encoder import TextEncoder
from attn_ref.places import UNFINISHED
from attn_ref.port.maps import maps

BLOCK = ar.TextEncoder(
    vocab_size=5, max_length=7, num_segments=2, width=4, num_layers=2, num_heads=2, hidden_width=6, dropout=0.1,
    attention_dropout=0.1,
)  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as Hugging Face has them: two shards, their index, a config.json, and a link to a shard."""
    folder = tmp_path / "model"
    folder.mkdir()
    told = {"map": "canonical", "block": "TextEncoder", "fields": BLOCK.fields()}
    ar.port.write(tmp_path / "in.npz", BLOCK.init(), told)
    ar.port.convert(tmp_path / "in.npz", tmp_path / "all.safetensors", to="hf.BertModel")
    with ar.port.read(tmp_path / "all.safetensors") as whole:
        tensors = {name: np.array(value) for name, value in whole.items()}
    shards = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for shard in set(shards.values()):
        save_file({name: value for name, value in tensors.items() if shards[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    config = {
        "model_type": "bert", "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "link.safetensors").symlink_to(folder / "model-0.safetensors")
    os.link(folder / "model-1.safetensors", tmp_path / "hard.safetensors")
    (tmp_path / "in.npz").unlink()
    (tmp_path / "all.safetensors").unlink()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


TO = ("--to", "hf.BertModel")
#: what is asked for -> the arguments behind SRC, below the folder that ``model`` lies in
REQUESTS = {
    "a shard": (["model/model-0.safetensors", *TO], "model/model-0.safetensors"),
    "another shard": (["model/model-1.safetensors", *TO], "model/model-1.safetensors"),
    "a shard by way of ..": (["model/../model/model-0.safetensors", *TO], "model/model-0.safetensors"),
    "a link to a shard": (["link.safetensors", *TO], "model/model-0.safetensors"),
    "a hard link to a shard": (["hard.safetensors", *TO], "model/model-1.safetensors"),
    "a shard in capitals": (["model/MODEL-0.safetensors", *TO], "model/model-0.safetensors"),
    "the plan is a shard": (["out.weights.h5", "--plan", "model/model-0.safetensors"], "model/model-0.safetensors"),
    "the plan is the index": (
        ["out.weights.h5", "--plan", "model/model.safetensors.index.json"], "model/model.safetensors.index.json",
    ),
    "the plan is config.json": (["out.weights.h5", "--plan", "model/config.json"], "model/config.json"),
    "the report is config.json": (["out.weights.h5", "--json", "model/config.json"], "model/config.json"),
    "the report is a link to a shard": (["out.weights.h5", "--json", "link.safetensors"], "model/model-0.safetensors"),
    "the plan is the target": (["out.weights.h5", "--plan", "out.weights.h5"], "each needs a file of its own"),
    "the report is the target": (["out.weights.h5", "--json", "OUT.weights.h5"], "each needs a file of its own"),
    "the report is the plan": (["out.weights.h5", "--json", "a.json", "--plan", "./a.json"], "a file of its own"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_output_is_an_input_or_another_output(
    kind: str, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, text = REQUESTS[kind]
    monkeypatch.chdir(model.parent)
    before = contents(model.parent)
    assert command("port", "model", *arguments) == 2
    err = capsys.readouterr().err
    assert text in err
    assert " cannot be " in err
    assert contents(model.parent) == before


@pytest.mark.parametrize("kind", ["json", "plan"])
def test_a_report_is_not_the_source(kind: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = model.parent / "w.npz"
    ar.port.convert(model, source)
    before = contents(model.parent)
    assert command("port", source, model.parent / "w.weights.h5", f"--{kind}", source) == 2
    assert "w.npz, which is read" in capsys.readouterr().err
    assert contents(model.parent) == before


def test_the_reports_of_a_check_are_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for one, other in (("a.html", "a.html"), ("a.html", "A.HTML")):
        assert command("check", "FeedForward", "--json", tmp_path / one, "--html", tmp_path / other) == 2
        assert "each needs a file of its own" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_not_written_over_itself(tmp_path: Path) -> None:
    ar.port.write(tmp_path / "w.npz", {"w": np.ones(3)})
    with (
        ar.port.read(tmp_path / "w.npz") as checkpoint,
        pytest.raises(ar.port.CheckpointError, match="which is read, and nothing that is read is written to"),
    ):
        ar.port.write(tmp_path / "w.npz", checkpoint)


def test_a_device_is_not_replaced_by_a_file(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fifo = model.parent / "fifo.npz"
    os.mkfifo(fifo)
    assert command("port", model, fifo) == 2
    assert "is no plain file" in capsys.readouterr().err
    assert command("port", model, model.parent / "w.npz", "--json", fifo) == 2
    assert command("check", "FeedForward", "--html", fifo) == 2
    assert fifo.is_fifo()


def test_what_a_link_points_to_is_written_and_the_link_stays(model: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here.npz").symlink_to(tmp_path / "there" / "w.npz")
    assert ar.port.convert(model, tmp_path / "here.npz").ok
    assert (tmp_path / "here.npz").is_symlink()
    assert (tmp_path / "there" / "w.npz").is_file()


# fields that cannot be expressed --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Capped(TextEncoder):
    """A text encoder of tomorrow, with an option that no Hugging Face file knows."""

    #: the bound of the scores
    softcap: float | None = None


Capped.__name__ = "TextEncoder"


def test_a_field_that_a_map_does_not_name_is_not_lost(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attn_ref.catalogue.block", lambda name: Capped)
    ar.port.convert(model, model.parent / "w.npz", set={"softcap": None})
    ar.port.convert(model.parent / "w.npz", model.parent / "plain.safetensors", to="hf.BertModel")
    with ar.port.read(model.parent / "w.npz") as held:
        told = {**held.metadata, "fields": {**held.metadata["fields"], "softcap": 50.0}}
        ar.port.write(model.parent / "with.npz", held, told)
    with pytest.raises(ar.port.CheckpointError, match=r"hf\.BertModel mean softcap = None; this TextEncoder has 50\.0"):
        ar.port.convert(model.parent / "with.npz", model.parent / "capped.safetensors", to="hf.BertModel")
    assert not (model.parent / "capped.safetensors").exists()
    with pytest.raises(ar.port.CheckpointError, match="mean softcap = None"):  # nor can such a file have meant it
        ar.port.convert(model, model.parent / "w.weights.h5", set={"softcap": 50.0})


#: fields that shapes do not tell, and that the map of a single layer takes as they are said
SAID = {
    "num_heads", "num_kv_heads", "dropout", "attention_dropout", "causal", "activation", "eps", "norm_first", "gate",
    "circular", "channels", "scale", "qk_norm_eps", "pooling",
}  # fmt: skip


def refuses_what_it_does_not_say(item: Any, cls: type[ar.Block]) -> None:
    """A field with another value is refused, or gives other parameters, or is one that has to be said."""
    example = cls.build(dict(cls.example))
    blocks = [example, *(other for _, _, other in witnessed(cls))]
    plain = next((block for block in blocks if not item.inexpressible(block)), None)
    assert plain is not None, item.name
    for name, value in cls.witnesses.items():
        try:
            other = cls.build({**plain.fields(), **(value if isinstance(value, dict) else {name: value})})
        except ValueError:  # of fields that do not go together
            continue
        told = item.inexpressible(other) or other.params() != plain.params() or name in SAID or other == plain
        assert told, f"{item.name} takes {name} = {value!r} and loses it"


def test_every_map_of_one_block_says_which_fields_it_expresses() -> None:
    """A value that no table has, or a field that no rule names, is refused by each of them."""
    for item in maps().values():
        if item.block is None:
            continue
        cls = ar.block(item.block)
        if item.refuses:
            refuses_what_it_does_not_say(item, cls)
            continue
        known = item.fields
        assert known, item.name
        if known.blocks:  # test_language_maps.py
            continue
        named = {
            *known.sizes,
            *cls.counts,
            *known.present,
            *known.kinds,
            *known.raw,
            *known.config,
            *item.only,
            *item.beside,
            *(name for entry in known.entries for name in entry.fields),
        }
        required = {field.name for field in fields(cls) if field.default is field.default_factory}
        assert required <= named, f"{item.name} does not say {required - named}"
        assert {field.name for field in fields(cls)} <= named, f"{item.name}: name them, or prove that they are neutral"
        others = {name: other for name, _, other in witnessed(cls)}
        for name, values in item.only.items():
            other = others[name]
            refused = any(f"mean {name} = " in line for line in item.inexpressible(other))
            assert refused == (getattr(other, name) not in values), (item.name, name)


def test_a_model_without_a_head_is_no_classifier(tmp_path: Path) -> None:
    block = ar.VisionTransformer(
        patch=4, image_height=8, image_width=8, width=8, num_layers=1, num_heads=2, hidden_width=12
    )
    told = {"map": "canonical", "block": "VisionTransformer", "fields": block.fields()}
    ar.port.write(tmp_path / "in.npz", block.init(), told)
    with pytest.raises(ar.port.CheckpointError, match=r"hold head\.kernel; this VisionTransformer has none"):
        ar.port.convert(tmp_path / "in.npz", tmp_path / "w.safetensors", to="hf.ViTForImageClassification")
    ar.port.convert(tmp_path / "in.npz", tmp_path / "w.safetensors", to="hf.ViTModel")


# runs that are ended --------------------------------------------------------------------------------------------------

SLOW = """
import sys, time
from attn_ref.port.formats import {form} as form
plain = form.write
def write(path, tensors, metadata, tick):
    def slow(name):
        tick(name)
        print("begun", flush=True)
        time.sleep(0.5)
    plain(path, tensors, metadata, slow)
form.write = write
from attn_ref.cli import main
sys.argv[:] = ["attn-ref", "port", *sys.argv[1:]]
main()
"""
ENDINGS = {"w.npz": "npz", "w.weights.h5": "keras_h5", "w.safetensors": "safetensors"}


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_ended_leaves_nothing(number: int, name: str, model: Path) -> None:
    out = model.parent / name
    out.write_bytes(b"what was there")
    before = contents(model.parent)
    to = ["--to", "canonical"] if name == "w.safetensors" else []
    program = SLOW.format(form=ENDINGS[name])
    running = subprocess.Popen(
        [sys.executable, "-c", program, str(model), str(out), *to],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout
    assert running.stdout.readline() == "begun\n"
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + number
    assert "Traceback" not in err
    assert contents(model.parent) == before


def test_leftovers_are_no_checkpoints_and_are_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL cannot be answered: what it leaves is passed over."""
    folder = model.parent / "folder"
    folder.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-c", SLOW.format(form="npz"), str(model), str(folder / "w.npz")], stdout=subprocess.PIPE
    )
    assert running.stdout
    running.stdout.readline()
    running.kill()
    running.communicate()
    (left,) = folder.iterdir()
    assert left.name.startswith(UNFINISHED)
    with pytest.raises(ar.port.CheckpointError, match=rf"it has none; {left.name} was left unfinished by a run"):
        ar.port.read(folder)
    shutil.copy(left, folder / f"{UNFINISHED}00000000.x.safetensors")
    ar.port.convert(model, folder / "w.npz")
    with ar.port.read(folder) as checkpoint:
        assert checkpoint.path == folder / "w.npz"


def test_hints_for_names_that_people_give(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out.weights.h5"
    for arguments, text in {
        ("port", "bert-base-uncased", out): "owner/bert-base-uncased, such as google-bert/bert-base-uncased",
        ("port", model, out, "--to", "tensorflow"): "the weights of tensorflow are those of map keras;",
        ("port", model, out, "--to", "pytorch"): "the weights of pytorch are those of map torch;",
        ("port", model, out, "--to", "Keras"): "did you mean keras?",
        ("port", model, out, "--to", "safetensors"): "that is a format, which the ending of the file's name chooses",
        (
            "port",
            model,
            out,
            "--from",
            "bert",
        ): ("did you mean google.BertModel, hf.BertModel, hf.DistilBertModel, hf.ModernBert or hf.TFBertModel?"),
        ("port", model, out, "--from", "hf.bertmodel"): "did you mean hf.BertModel?",
    }.items():
        assert command(*arguments) == 2
        assert text in capsys.readouterr().err, arguments


def test_a_family_without_a_map_is_refused_by_its_type(tmp_path: Path) -> None:
    save_file({"encoder.block.0.layer.0.SelfAttention.q.weight": np.zeros((3, 9))}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "reformer"}')
    with pytest.raises(
        ar.port.CheckpointError, match=r"a model of type 'reformer' by .*; the types with maps are bert, .*gpt2"
    ):
        ar.port.load(tmp_path)


@pytest.mark.deep
def test_two_hundred_kills_corrupt_nothing(model: Path, tmp_path: Path) -> None:
    """SIGKILL at any time: the target is what it was, or whole."""
    big = ar.FeedForward(width=300, hidden_width=2000)
    told = {"map": "canonical", "block": "FeedForward", "fields": big.fields()}
    ar.port.write(tmp_path / "in.npz", big.init(), told)
    names = ["out.npz", "out.weights.h5", "out.safetensors"]
    whole: dict[str, bytes] = {}
    took = 0.0
    for name in names:
        begun = time.monotonic()
        ar.port.convert(tmp_path / "in.npz", tmp_path / name, to=None if name != "out.safetensors" else "canonical")
        took = max(took, time.monotonic() - begun)
        whole[name] = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    seen: dict[str, int] = {}
    for i in range(200):
        name = names[i % 3]
        old = b"what was there" if i % 2 else None
        (tmp_path / name).unlink(missing_ok=True)
        if old:
            (tmp_path / name).write_bytes(old)
        to = ["--to", "canonical"] if name == "out.safetensors" else []
        program = [sys.executable, "-m", "attn_ref", "port", str(tmp_path / "in.npz"), str(tmp_path / name), *to]
        running = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.1, 1.2 + 2 * took))
        running.kill()
        running.wait()
        now: Any = (tmp_path / name).read_bytes() if (tmp_path / name).exists() else None
        assert now in (old, whole[name]), f"kill {i} left {name} neither as it was nor whole"
        seen["whole" if now == whole[name] else "as it was"] = (
            seen.get("whole" if now == whole[name] else "as it was", 0) + 1
        )
    left = [path for path in tmp_path.iterdir() if path.name.startswith(UNFINISHED)]
    print(f"200 kills: {seen}, {len(left)} unfinished files left, all of them named as such")
    assert min(seen.values()) > 10
    (tmp_path / "alone").mkdir()
    for path in left:
        shutil.move(path, tmp_path / "alone" / path.name)
    with pytest.raises(ar.port.CheckpointError, match="it has none"):
        ar.port.read(tmp_path / "alone")
