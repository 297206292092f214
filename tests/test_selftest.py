"""The checker measured against planted traps: it passes as it is, and fails where the check is broken by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attn_ref as ar
from attn_ref.check.tolerance import LIMIT
from attn_ref.commands.selftest import command
from attn_ref.trace.match import laid, laid_back
from attn_ref.traps import catalogue, trap
from attn_ref.verbs import in_layer as module
from attn_ref.verbs import selftest as verb
from attn_ref.verbs.in_layer import ALIAS, CAUGHT, MISSED, in_layer
from attn_ref.verbs.tracers import NotATarget
from attn_ref.verbs.verdict import Verdict

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from wild.torch_layers import LAYERS  # noqa: E402

ROOT = Path(__file__).parents[1]
#: one of a value, one of an option, one after the last tap, one in a part of a block
FEW = ("softmax-over-queries", "post-norm-for-pre-norm", "attention-residual-inside", "qk-norm-left-out")


def run(*args: str) -> int:
    code: int = command([*args, "--quiet"], standalone_mode=False)
    return code


# in the mirrors -------------------------------------------------------------------------------------------------------


def test_every_kind_of_trap_is_caught_at_its_tap_and_nothing_else_is(capsys: Any, tmp_path: Path) -> None:
    file = tmp_path / "selftest.json"
    assert run(*(part for name in FEW for part in ("--trap", name)), "--json", str(file)) == 0
    printed = capsys.readouterr().out
    assert "planted in torch and tensorflow: all as it should be" in printed
    assert "8 of 8 = 100 %" in printed
    told = json.loads(file.read_text("utf-8"))
    assert {(t["trap"], t["engine"]) for t in told["trials"]} == {(n, e) for n in FEW for e in ("torch", "tensorflow")}
    total = told["total"]
    assert (total["traps"], total["planted"], total["caught"], total["placed"]) == (4, 8, 8, 8)
    assert (total["clean"], total["alarms"]) == (24, 0)
    assert sum(family["planted"] for family in told["families"]) == 8


@pytest.mark.deep
def test_every_trap_is_caught_at_its_tap_in_every_mirror() -> None:
    found = ar.selftest(clean=1)
    assert [trial for trial in found.trials if not trial.ok] == []
    assert found.total().planted == 2 * len(catalogue())


def test_a_blind_comparison_is_found_out(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Nothing is off at all: every trap of a value is missed, and named."""
    compare = sys.modules["attn_ref.check.judge"]
    monkeypatch.setattr(compare, "deviation", lambda got, want: np.zeros(np.shape(want.value)[:-1]))
    assert run("--trap", "softmax-over-queries", "--engine", "torch") == 1
    printed = capsys.readouterr().out
    assert "softmax-over-queries on torch: not caught" in printed
    assert "0 of 1 = 0 %" in printed
    assert "something is missed" in printed


def test_a_place_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(verb, "trap", lambda name: replace(trap(name), at="merged"))
    monkeypatch.setattr(verb, "planting", lambda row, *rest: plant(trap(row.name), *rest))
    assert run("--trap", "softmax-over-queries", "--engine", "torch") == 1
    assert "softmax-over-queries on torch: caught at weights, not at merged" in capsys.readouterr().out


plant: Callable[..., Any] = verb.planting


def test_a_false_alarm_is_found_out(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """No rounding is allowed: clean cases differ."""
    monkeypatch.setitem(LIMIT, "float64", 0.0)
    assert run("--trap", "softmax-over-queries", "--engine", "torch", "--clean", "3") == 1
    printed = capsys.readouterr().out
    assert "softmax-over-queries on torch: false alarm: " in printed
    assert "of 4 " in printed


def test_a_mirror_that_raises_has_caught_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(type(ar.backend("torch")), "run", broken)
    assert run("--trap", "softmax-over-queries", "--engine", "torch") == 1
    assert "softmax-over-queries on torch: not caught: RuntimeError: no such kernel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--trap", "softmax-over-query"], "did you mean softmax-over-queries"),
        (["--engine", "toch"], "unknown engine 'toch'"),
        (["--engine", "nn.MultiheadAttention"], "traps are planted in mirrors"),
        (["--block", "LayerNorm", "--trap", "softmax-over-queries"], "not both"),
        (["--clean", "-1"], "not negative"),
        (["--set", "width=8"], "go with --layer"),
        (["--layer", "a.py:b"], "--layer goes with --block"),
    ],
)
def test_what_cannot_be_met_is_refused(args: list[str], said: str) -> None:
    """The command line makes exit code 2 of a ValueError."""
    with pytest.raises(ValueError, match=said):
        run(*args)


# in a stranger's layer ------------------------------------------------------------------------------------------------


def layer_of(name: str) -> tuple[Any, Any]:
    cls, block, _ = next(row for row in LAYERS if row[0].__name__ == name)
    torch.manual_seed(0)
    return cls(), block


def test_a_value_is_laid_back_as_it_lay() -> None:
    sizes, value = (2, 3, 1, 5), np.arange(30.0).reshape(2, 3, 1, 5)
    for order in permutations((0, 1, 3)):
        for shape in ([sizes[i] for i in order], (1, *(sizes[i] for i in order)), (30,)):
            there = laid_back(value, tuple(shape), order)
            assert there.shape == tuple(shape)
            assert np.array_equal(laid(there, sizes, order), value)


def test_another_value_is_put_in_the_place_of_a_recorded_one() -> None:
    """What follows is computed of it; an operation in place writes it; the layer and its weights stay."""
    from attn_ref_torch.trace import double, trace

    class Two(nn.Module):
        def forward(self, x: Any) -> Any:
            y = x * 2.0
            y.add_(1.0)
            return y + x, y

    x = np.arange(6.0).reshape(2, 3)
    layer = double(Two())
    plain = trace(layer, [x], {})
    assert [r.operation for r in plain.records] == ["mul", "add_", "add"]
    other = np.full((2, 3), 10.0)
    changed = trace(layer, [x], {}, instead={0: other})
    for record, value in zip(changed.records, (other, other + 1, other + 1 + x), strict=True):
        assert np.array_equal(record.value, value)
    in_place = trace(layer, [x], {}, instead={1: other})
    assert np.array_equal(in_place.records[2].value, other + x)
    assert np.array_equal(in_place.output[1].numpy(), other), "the tensor itself"
    without = trace(layer, [x], {}, 0, instead={1: other})
    assert without.records == []
    assert np.array_equal(without.output[1].numpy(), other)
    assert np.array_equal(trace(layer, [x], {}).records[2].value, plain.records[2].value)


@pytest.mark.parametrize(
    ("name", "traps", "tap"),
    [
        ("Mlp", ("gelu-by-tanh", "relu-activation"), "active"),
        ("Norm", ("variance-unbiased", "norm-eps-keras"), "normed"),
        ("Packed", ("softmax-over-queries", "sigmoid-weights"), "attention.weights"),
        ("PerHead", ("softmax-over-queries",), "attention.weights"),
    ],
)
def test_conform_names_tap_line_and_trap(name: str, traps: tuple[str, ...], tap: str) -> None:
    layer, block = layer_of(name)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    found = in_layer(layer, block, traps)
    assert [one.trap for one in found.planted] == list(traps)
    for one in found.planted:
        assert (one.tap, one.came, one.first, one.reason) == (tap, CAUGHT, tap, one.trap)
        assert one.at_tap
        assert one.at_line
        assert one.named
        assert one.line.rpartition(":")[0] == one.first_line.rpartition(":")[0] != ""
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def test_a_trap_that_other_weights_explain_is_told_so() -> None:
    layer, block = layer_of("Norm")
    found = in_layer(layer, block, ["norm-scale-left-out", "softmax-over-queries"])
    assert [one.came for one in found.planted] == [ALIAS]
    assert found.left_out == {"softmax-over-queries": "it does not act here"}


def test_a_trap_that_changes_no_result_is_none() -> None:
    """Rotary positions from one in queries and keys: the distances are what they were."""
    found = in_layer(*layer_of("Llama"), ["rotary-from-one"])
    assert found.planted == []
    assert found.left_out == {"rotary-from-one": "what the layer gives stays the same"}


def test_the_command_plants_in_a_layer_of_yours(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\nclass Mine(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = torch.nn.Linear(6, 10), torch.nn.Linear(10, 6)\n\n"
        "    def forward(self, x):\n        return self.b(torch.relu(self.a(x)))\n"
    )
    asked = ["--layer", f"{tmp_path}/mine.py:Mine", "--block", "FeedForward", "--trap", "relu-squared-activation"]
    asked += ["--set", "width=6", "--set", "hidden_width=10", "--set", "activation=relu"]
    assert run(*asked, "--trap", "reduce-bias-left-out", "--json", str(tmp_path / "it.json")) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 caught, 1 more explained by weights; of those caught 1 at the tap, 1 at the line, 1 named" in printed
    told = json.loads((tmp_path / "it.json").read_text("utf-8"))
    assert [one["line"].rpartition(":")[2] for one in told["planted"]] == ["10", "10"]


def test_a_blind_conform_is_found_out(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Broken by hand: it takes every layer for the block, with the right weights."""
    host = module.Layer(*layer_of("Mlp"), None, 0)
    row = trap("relu-activation")
    assert host.plant(row).came == CAUGHT

    def blind(runner: Any, block: Any, inputs: Any, call: Any, tried: Any, tell: Any) -> Any:
        return Verdict(block, True), replace(tried[0], best=host.clean.best), False

    monkeypatch.setattr(module, "of_first_case", blind)
    assert host.plant(row).came == MISSED
    monkeypatch.setattr("attn_ref.verbs.target.load", lambda target, options: layer_of("Mlp")[0])
    asked = ["--layer", "it", "--block", "FeedForward", "--set", "width=12", "--set", "hidden_width=20"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "Layer", lambda *args: host)
        assert run(*asked, "--set", "activation=gelu", "--trap", "relu-activation") == 1
    printed = capsys.readouterr().out
    assert "relu-activation" in printed
    assert "0 of 1 caught" in printed


def test_traps_are_planted_in_layers_of_torch_that_agree() -> None:
    block = ar.FeedForward(width=6, hidden_width=10, activation="gelu")
    layer = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 6))
    with pytest.raises(
        ValueError, match=r"a layer that agrees with its block; this one is not FeedForward(?s:.*)active"
    ):
        in_layer(layer, block)
    w = np.random.default_rng(0).normal(size=(6, 6))
    with pytest.raises(NotATarget, match="layers of torch"):
        in_layer(lambda x: np.tanh(x @ w), ar.FeedForward(width=6, hidden_width=6))


def test_the_published_figures_are_those_of_all_traps_and_ten_layers() -> None:
    mirrors = json.loads((ROOT / "docs/data/selftest.json").read_text("utf-8"))
    assert mirrors["ok"]
    assert {trial["trap"] for trial in mirrors["trials"]} == set(catalogue())
    layers = json.loads((ROOT / "docs/data/selftest_layers.json").read_text("utf-8"))
    assert [row["layer"] for row in layers["layers"]] == [cls.__name__ for cls, *_ in LAYERS]
    for row, traps in zip(layers["layers"], layers["traps"], strict=True):
        assert row["planted"] == row["caught"] + row["by_weights"] + row["missed"] == len(traps["planted"])
