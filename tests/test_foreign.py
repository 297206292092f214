"""Layers and models of other libraries, run by the check as mirrors are: what they can mean, what they do otherwise."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert

import attn_ref as ar
from attn_ref.check.cases import Case
from attn_ref.check.compare import compare
from attn_ref.check.covering import planned
from attn_ref.check.fitting import fitted
from attn_ref.check.gaps import gaps_for
from attn_ref.check.pool import random_cases
from attn_ref.engines import backend, served
from attn_ref.foreign import maps, peers
from attn_ref.foreign.job import Job
from attn_ref.foreign.map import Map
from attn_ref.foreign.part import Part
from attn_ref.foreign.rules import Rule

NAMES = list(peers())


def able(name: str) -> Any:
    """The implementation, where its library is installed."""
    for module in peers()[name].needs:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    ar.backend(peers()[name].engine)  # says which engine Keras runs on, before it is imported
    return backend(name)


def test_which_there_are_is_known_without_a_framework() -> None:
    code = """
import sys
from attn_ref.foreign import maps, peers
from attn_ref.engines import served
print(*sorted(peers()), *sorted(maps()), *[served(name).version(name) is not None for name in peers()])
assert not {"torch", "keras", "tensorflow", "transformers"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {*NAMES, *maps()} <= set(done.stdout.split())
    assert {"nn.MultiheadAttention", "nn.TransformerEncoderLayer", "keras.layers.MultiHeadAttention"} <= set(NAMES)
    assert all(item.end.startswith("attn_ref_") for item in maps().values()), "each is run by its own file"


@pytest.mark.parametrize("mode", ["forward", "gradient"])
@pytest.mark.parametrize("name", NAMES)
def test_it_agrees_wherever_it_must(name: str, mode: str) -> None:
    able(name)
    cases = 12 if mode == "forward" else 4
    report = ar.check(engines=[name], modes=[mode], cases=cases, executor="inline")
    (row,) = report.rows
    assert report.ok, f"{row.first_divergence}: {row.detail}\n{row.case}"
    assert (row.block, row.cases, row.not_run) == (peers()[name].block, cases, 0)


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in NAMES for what in peers()[name].deviates])
def test_a_deviation_is_still_there(name: str, what: str) -> None:
    """A library that does as the definition does, by now, makes its entry untrue."""
    implementation, peer = able(name), peers()[name]
    cls, others = ar.block(peer.block), [shows for said, shows in peer.deviates.items() if said != what]
    tried = 0
    for drawn in (*planned(cls), *random_cases(cls, 2000)):
        case = fitted(dataclasses.replace(drawn, seed=tried), peer)
        if case is None or case.empty():
            continue
        block, inputs = case.build(), case.inputs()
        if peer.deviates[what](block, inputs) and not any(shows(block, inputs) for shows in others):
            tried += 1
            if compare(implementation, case, "float64", gaps_for(name, "float64"), again=False).first:
                return
    pytest.fail(f"{name}: {what}: none of {tried} cases shows it")


@pytest.mark.parametrize("name", NAMES)
def test_weights_travel_bit_for_bit(name: str) -> None:
    implementation = able(name)
    cls = ar.block(peers()[name].block)
    case = next(case for case in (fitted(c, peers()[name]) for c in planned(cls)) if case)
    layer, w = implementation.build(case.build()), case.weights()
    found = implementation.dump(implementation.load(layer, w))
    assert list(found) == list(w)
    assert all(found[key].tobytes() == np.ascontiguousarray(value).tobytes() for key, value in w.items())


def test_a_fault_in_a_model_of_others_is_told_at_its_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' BERT with the eps of torch in one of its norms."""
    able("hf.BertModel")
    peer, make = peers()["hf.BertModel"], peers()["hf.BertModel"].make

    def amiss(block: Any, dtype: str) -> Any:
        model = make(block, dtype)
        model.encoder.layer[0].attention.output.LayerNorm.eps = 1e-3
        return model

    wrong = dataclasses.replace(peer, make=amiss)
    implementation = ar.backends()["torch"].of(wrong)(wrong.name)
    case = next(c for c in (fitted(c, peer) for c in planned(ar.TextEncoder)) if c and not c.empty())
    outcome = compare(implementation, case, "float64")
    assert (outcome.first, outcome.fault) == ("layers.0.attention_norm", "value")


def test_what_it_cannot_mean_is_no_case_of_it() -> None:
    peer = peers()["nn.MultiheadAttention"]
    block = ar.MultiHeadAttention(width=8, num_heads=2, softcap=1.0)
    assert peer.outside(block, {}) == "softcap = 1.0 (only None)"
    x = {"query": np.ones((1, 2, 8)), "key_lengths": np.array([1])}
    assert peer.outside(ar.MultiHeadAttention(width=8, num_heads=2), x) == "it has no input key_lengths"
    shapes = {"query": (2, 3, 8), "query_offset": (2,)}
    case = Case("MultiHeadAttention", block.as_data()["fields"], shapes, dict.fromkeys(shapes, "plain"), 3)
    plain = fitted(case, peer)
    assert plain is not None
    assert plain.build() == ar.MultiHeadAttention(width=8, num_heads=2)
    assert list(plain.shapes) == ["query"]


def test_a_request_that_cannot_be_met_is_told() -> None:
    with pytest.raises(ValueError, match=r"nn\.MultiheadAttention computes none of FeedForward"):
        ar.check("FeedForward", engines=["nn.MultiheadAttention"])
    with pytest.raises(ValueError, match=r"did you mean nn\.MultiheadAttention\? the engines are torch, .*; layers of"):
        ar.check("FeedForward", engines=["nn.MultiheadAttentio"])
    assert served("hf.BertModel").mirrors("TextEncoder")
    assert not served("hf.BertModel").mirrors("FeedForward")


def test_a_part_without_a_rule_is_told() -> None:
    """Two thirds of a packed tensor are not all of it."""
    rules = [
        Rule("qkv.weight", f"{name}.kernel", "transpose", Part(i, 1, 3)) for i, name in enumerate(("query", "key"))
    ]
    rest = ("value.kernel", "project.kernel")
    torn = Map(
        name="torn", summary="two of three", formats=("safetensors",), end="",
        rules=(*rules, *(Rule(name, name) for name in rest)),
    )  # fmt: skip
    block = ar.MultiHeadAttention(width=4, num_heads=2, use_bias=False, output_bias=False)
    with pytest.raises(ValueError, match=r"map torn has no rule for all of qkv\.weight of MultiHeadAttention"):
        torn.rules_for(block)


def test_a_parameter_that_a_file_lacks_is_told_and_not_drawn(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    from attn_ref_torch.hugging_face import pretrained

    lost = "encoder.layer.1.output.dense.weight"
    folder = tiny_bert.change(
        tiny_bert.save(tmp_path / "model"), tmp_path / "less",
        lambda held: {name: x for name, x in held.items() if name != lost},
    )  # fmt: skip
    block: Any = None
    job = Job(str(folder / "model.safetensors"), block, {}, "", "", str(folder / "config.json"))
    with pytest.raises(ValueError, match=f"finds no value for {lost}"):
        pretrained(transformers.BertModel, job, None, attention="eager")
