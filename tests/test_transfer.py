"""The numbers of one live model into another: that they arrive, and that what differs is named and nothing written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_port import command as in_process

import attn_ref as ar

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
from live_pairs import FAULTS, PAIRS, Pair  # noqa: E402
from torch import nn  # noqa: E402
from wild import live_keras  # noqa: E402

from attn_ref.live.outcome import Differs, Open  # noqa: E402
from attn_ref.live.plan import Plan  # noqa: E402
from attn_ref.verbs.tracers import NotATarget  # noqa: E402

if keras.backend.backend() != "tensorflow":
    pytest.skip("on TensorFlow", allow_module_level=True)

HERE = Path(__file__).parent
QUICK = ("gpt", "se_resnet", "unet")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.deep) for name in PAIRS]


def of_torch(pair: Pair, seed: int = 0) -> Any:
    """The model of torch, its running statistics no ones and zeros."""
    torch.manual_seed(seed)
    made = pair.torch().eval()
    for name, x in made.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            x.copy_(torch.rand_like(x) * 0.5 + 0.5 * name.endswith("var"))
    return made


def of_keras(pair: Pair, **options: Any) -> Any:
    made = pair.keras(**options)
    made(*pair.keras_example)
    return made


def outputs(pair: Pair, first: Any, second: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the two give in their own dtype, channels last."""
    with torch.no_grad():
        x = first(*map(torch.tensor, pair.example)).numpy()
    y = np.array(second(*pair.keras_example))
    return np.moveaxis(x, 1, -1) if x.ndim > 3 else x, y


def numbers(model: Any) -> list[np.ndarray]:
    if isinstance(model, nn.Module):
        return [x.detach().numpy().copy() for x in model.state_dict().values()]
    return [np.array(w.value) for w in model.weights]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_numbers_arrive_both_ways(name: str) -> None:
    pair = PAIRS[name]
    source, target = of_torch(pair), of_keras(pair)
    before = numbers(source)
    found = ar.transfer(source, target, pair.example, target_example=pair.keras_example if pair.said else None)
    assert found.written
    assert found.units < 1
    assert all(entry.proven.startswith("its values") for entry in found.plan)
    assert found.values >= len(found.plan) / 2
    x, y = outputs(pair, source, target)
    assert np.abs(x - y).max() < 1e-5 * np.abs(x).max()  # in float32, each by its own library
    assert same(numbers(source), before)
    back = of_torch(pair, seed=1)
    assert not same(numbers(back), before)
    ar.transfer(target, back, pair.keras_example, target_example=pair.example if pair.said else None)
    if name == "speech":  # two biases of an LSTM arrive as their sum
        assert np.abs(outputs(pair, back, target)[0] - x).max() < 1e-5 * np.abs(x).max()
    else:
        assert same(numbers(back), before)


@pytest.mark.parametrize("fault", [f if f == "epsilon" else pytest.param(f, marks=pytest.mark.deep) for f in FAULTS])
def test_a_fault_is_named_and_nothing_is_written(fault: str) -> None:
    name, layer = FAULTS[fault]
    pair = PAIRS[name]
    keras.backend.clear_session()  # layers are called alike each time
    source, target = of_torch(pair), of_keras(pair, fault=fault)
    before = numbers(target)
    with pytest.raises(Differs) as caught:
        ar.transfer(source, target, pair.example, target_example=pair.keras_example if pair.said else None)
    assert same(numbers(target), before)
    file, _, line = (caught.value.lines[1] or "").rpartition(":")
    assert Path(file) == HERE / "wild" / "live_keras.py"
    assert (HERE / "wild" / "live_keras.py").read_text("utf-8").splitlines()[int(line) - 1].endswith(f"# {fault}")
    assert re.fullmatch(rf"\w+/{layer}(_\d+)?", str(caught.value.layers[1]))
    if fault in ("eps", "epsilon"):
        assert caught.value.cause.startswith("eps is 1e-05 in the source and 0.001 in the target; with 1e-05")
    if fault == "gelu":
        assert caught.value.cause == "the source takes gelu_tanh here, the target gelu"


class Two(nn.Module):
    """Layers of one shape, side by side and one after the other; their kernels are square."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Any) -> Any:
        return self.last(torch.tanh(self.one(x)) * self.two(x))


class Other(nn.Module):
    """The same, used in another order and called otherwise, kernels the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.randn(6, 6)) for _ in range(3))
        self.d, self.e, self.f = (nn.Parameter(torch.randn(6)) for _ in range(3))

    def forward(self, x: Any) -> Any:
        gate = x @ self.a + self.d
        return (gate * torch.tanh(x @ self.b + self.e)) @ self.c + self.f


X = np.random.default_rng(3).standard_normal((4, 6)).astype(np.float32)


def test_what_is_alike_is_settled_by_running() -> None:
    source, target = Two(), Other()
    found = ar.transfer(source, target, X)
    assert [found.plan[name].rule.sources for name in "abcdef"] == [  # type: ignore[union-attr]
        ("two.weight",), ("one.weight",), ("last.weight",), ("two.bias",), ("one.bias",), ("last.bias",)
    ]  # fmt: skip
    assert torch.equal(target.a, source.two.weight.T)
    assert torch.allclose(target(torch.tensor(X)), source(torch.tensor(X)), atol=1e-6)


class Halves(nn.Module):
    """What is above 0 and what is below, each with a scale of its own; ``wrong``: where it computes something else."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self.above, self.below = nn.Parameter(torch.ones(6)), nn.Parameter(torch.linspace(1.5, 2.0, 6))

    def forward(self, x: Any) -> Any:
        above = torch.relu(x) * self.above
        if self.wrong == "at ones" and bool((self.above == 1).all()):
            above = 1.5 * above
        below = torch.relu(-x) * self.below
        return above - (1.5 * below if self.wrong == "below 0" else below)


@pytest.mark.parametrize("wrong", ["below 0", "at ones"])
def test_what_the_example_hides_is_found(wrong: str) -> None:
    """No number of this example is below 0; and only with the real numbers is a scale all ones."""
    source, target = Halves(), Halves(wrong)
    example = np.abs(X) + 0.1 if wrong == "below 0" else X
    before = numbers(target)
    with pytest.raises(Differs):
        ar.transfer(source, target, example)
    assert same(numbers(target), before)


def test_modes_and_random_states_are_as_before() -> None:
    pair = PAIRS["gpt"]
    source, target = of_torch(pair).train(), of_keras(pair)
    policies = [layer.dtype_policy.name for layer in target._flatten_layers()]
    held = [v.value for v in target.weights]
    torch.manual_seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    ar.transfer(source, target, pair.example)
    assert source.training
    assert all(module.training for module in source.modules())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert [layer.dtype_policy.name for layer in target._flatten_layers()] == policies
    assert all(v.value is x for v, x in zip(target.weights, held, strict=True))


class Unused(nn.Module):
    """Holds layers that are never called."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.body = nn.Linear(6, 5)
        for name in names:
            setattr(self, name, nn.Linear(3, 4))

    def forward(self, x: Any) -> Any:
        return self.body(x)


def test_what_nothing_takes_is_believed_by_name_and_said() -> None:
    source, target = Unused("spare", "other"), Unused("other", "spare")
    found = ar.transfer(source, target, X)
    assert torch.equal(source.spare.weight, target.spare.weight)
    assert torch.equal(source.other.bias, target.other.bias)
    assert "believed, not proven" in str(found)
    assert found.plan["spare.weight"].proven.startswith("its name alone")


def test_what_nothing_tells_is_refused_until_it_is_said(tmp_path: Path) -> None:
    source, target = Unused("first", "second"), Unused("left", "right")
    before = numbers(target)
    with pytest.raises(Open, match=r"(?s)left\.weight \(4, 3\).*say it in a plan"):
        ar.transfer(source, target, X)
    assert same(numbers(target), before)
    made = ar.transfer(source, target, X, plan_only=True)
    assert same(numbers(target), before)
    names = ["left.weight", "left.bias", "right.weight", "right.bias"]
    assert sorted(made.plan.open) == sorted(names)
    said = {"left.weight": "second.weight", "left.bias": None, "right.weight": None, "right.bias": "first.bias"}
    ar.transfer(source, target, X, plan=said)
    assert torch.equal(target.left.weight, source.second.weight)
    assert torch.equal(target.right.bias, source.first.bias)
    assert np.array_equal(target.left.bias.detach(), before[3])


def test_a_plan_is_saved_edited_and_applied(tmp_path: Path) -> None:
    source, target = Two(), Two()
    ar.transfer(source, target, X, plan_only=True).save(tmp_path / "plan.json")
    again = Two()
    ar.transfer(source, again, X, plan=tmp_path / "plan.json")
    assert same(numbers(source), numbers(again))
    told = json.loads((tmp_path / "plan.json").read_text())
    one, two = (next(e for e in told["plan"] if e["target"] == f"{n}.weight") for n in ("one", "two"))
    one["sources"], two["sources"] = two["sources"], one["sources"]
    with pytest.raises(Differs, match=r"in layer 'one'"):
        ar.transfer(source, Two(), X, plan=told)
    one["sources"] = ["one.wight"]
    with pytest.raises(ValueError, match=r"(?s)the plan does not fit:.*the source has no one\.wight; .*one\.weight"):
        ar.transfer(source, Two(), X, plan=told)
    assert len(Plan.load(tmp_path / "plan.json")) == 6


@pytest.mark.parametrize(
    ("source", "target", "example", "text"),
    [
        (lambda x: x, Two(), X, "the source should be a model of torch or Keras"),
        (Two(), 3, X, "the target should be a model of torch or Keras; got a int"),
        (Two(), Two(), X[:, :5], "the source could not be called with the example"),
        (nn.Tanh(), Two(), X, "the source has no parameters"),
        (Two(), Two(), np.zeros((4, 6), np.float32), "the example is one number all over"),
        (nn.Sequential(nn.Linear(6, 2), nn.Softmax(-1), nn.Hardtanh(2, 3)), Two(), X, "the source gives one number"),
        (Two(), nn.Linear(5, 2), X, "(?s)the target could not be called with the example.*target_example="),
    ],
)
def test_bad_requests(source: Any, target: Any, example: Any, text: str) -> None:
    with pytest.raises(NotATarget, match=text):
        ar.transfer(source, target, example)


def test_a_missing_parameter_is_told() -> None:
    """A target without a bias, and one with a bias that the source has not."""
    with pytest.raises(Differs, match="nothing of the source fits bias"):
        ar.transfer(nn.Linear(6, 5, bias=False), nn.Linear(6, 5), X)
    with pytest.raises(Differs, match="the target takes nothing of the source's bias"):
        ar.transfer(nn.Linear(6, 5), nn.Linear(6, 5, bias=False), X)


MODELS = """
import keras, torch
torch.manual_seed(0)
source = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 3))
target = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "gelu"), keras.layers.Dense(3)])
wrong = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
"""


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    models, example = tmp_path / "models.py", tmp_path / "x.npy"
    models.write_text(MODELS)
    np.save(example, X)
    out = tmp_path / "target.weights.h5"
    code = in_process(
        "transfer", f"{models}:source", f"{models}:target", "--example", str(example), "--out", str(out),
        "--save-plan", str(tmp_path / "plan.json"),
    )  # fmt: skip
    text = capsys.readouterr().out
    assert code == 0, text
    assert "transferred 4 parameters" in text
    assert out.exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".attn_ref-")] == []
    code = in_process(
        "transfer", f"{models}:source", f"{models}:wrong", "--example", str(example), "--out",
        str(tmp_path / "no.weights.h5"), "--json", str(tmp_path / "r.json"),
    )  # fmt: skip
    text = capsys.readouterr().out
    assert code == 1
    assert "the source takes gelu here, the target relu" in text
    assert not (tmp_path / "no.weights.h5").exists()
    assert json.loads((tmp_path / "r.json").read_text())["ok"] is False


def test_the_faults_are_planted_in_the_files() -> None:
    """Each fault's line is one and is marked once."""
    text = Path(live_keras.__file__).read_text("utf-8")
    assert all(len(re.findall(rf"# {fault}$", text, re.M)) == 1 for fault in FAULTS)
