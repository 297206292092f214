"""Two layers that should compute the same: that right ones agree, and at which line of either faulty ones part."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_port import command as in_process

import attn_ref as ar

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from wild import torch_layers  # noqa: E402

from attn_ref.verbs.compare import DifferentWeights  # noqa: E402
from attn_ref.verbs.tracers import NotATarget  # noqa: E402

HERE = Path(__file__)
WIDTH, HEADS, HIDDEN = 12, 3, 20


class Packed(nn.Module):
    """A causal block of torch, its projections packed."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Any) -> Any:
        b, t, _ = x.shape
        q, k, v = (y.view(b, t, HEADS, -1).transpose(1, 2) for y in self.qkv(self.norm(x)).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, -1))
        return x + self.down(F.gelu(self.up(x)))


class Split(nn.Module):
    """The same with projections of their own, and steps written out; ``fault`` is one that people make."""

    def __init__(self, packed: Packed, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.norm = nn.LayerNorm(WIDTH, eps=1e-3 if fault == "eps" else 1e-6)
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        told = packed.state_dict()
        for i, name in enumerate("qkv"):
            for kind in ("weight", "bias"):
                told[f"{name}.{kind}"] = told[f"qkv.{kind}"][WIDTH * i : WIDTH * (i + 1)]
        self.load_state_dict({name: x for name, x in told.items() if not name.startswith("qkv")})

    def forward(self, x: Any) -> Any:
        b, t, c = x.shape
        y = self.norm(x)  # eps
        q, k, v = (one(y).view(b, t, HEADS, -1).transpose(1, 2) for one in (self.q, self.k, self.v))
        scores = torch.einsum("bhid,bhjd->bhij", q, k)
        wide = c if self.fault == "scale" else c // HEADS
        scores = scores / wide**0.5  # scale
        if self.fault != "mask":
            scores = scores.masked_fill(torch.ones(t, t).triu(1).bool(), -1e9)
        weights = scores.softmax(-2 if self.fault == "axis" else -1)  # axis, mask
        y = weights @ v
        y = y if self.fault == "merged" else y.permute(0, 2, 1, 3)
        y = y.reshape(b, t, c)  # merged
        x = x + self.out(y)
        h = self.up(x)
        h = F.gelu(h, approximate="tanh" if self.fault == "gelu" else "none")  # gelu
        return x + self.down(h)


#: fault -> the code of the line at which the right layer parts
FAULTS = {
    "scale": "F.scaled_dot_product_attention",
    "axis": "F.scaled_dot_product_attention",
    "mask": "F.scaled_dot_product_attention",
    "gelu": "F.gelu",
    "eps": "self.qkv(self.norm(x))",
}


@pytest.fixture(scope="module")
def packed() -> Packed:
    torch.manual_seed(0)
    return Packed()


def marked(cls: Any, word: str) -> int:
    """The number of the line of a class whose comment has the word."""
    lines, first = inspect.getsourcelines(cls)
    return next(first + n for n, line in enumerate(lines) if word in line.rpartition("# ")[2] and "# " in line)


def test_packed_and_split_agree(packed: Packed) -> None:
    found = ar.compare(packed, Split(packed))
    assert found.ok, str(found)
    assert found.places == (None, None)
    assert found.cases == 22, "the first, twenty more, and one with biases of zeros and scales of ones moved"
    assert found.worst < 1e-12
    assert ("b.q.weight", "a.qkv.weight[0:12]") in found.weights
    assert ("b.v.bias", "a.qkv.bias[24:36]") in found.weights


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_at_its_line_and_at_the_partners(packed: Packed, fault: str) -> None:
    found = ar.compare(packed, Split(packed, fault), cases=2)
    assert not found.ok
    a, b = found.places
    assert b is not None
    assert b.line is not None
    assert (b.line.file, b.line.number) == (str(HERE), marked(Split, fault)), str(found)
    assert a is not None
    assert a.line is not None
    assert FAULTS[fault] in a.line.code, str(found)
    other = ar.compare(Split(packed, fault), packed, cases=2)
    assert other.lines == found.lines[::-1], "whichever comes first"


def test_heads_merged_in_another_order_are_told_where_they_are(packed: Packed) -> None:
    found = ar.compare(packed, Split(packed, "merged"), cases=2)
    assert found.lines[1] == f"{HERE}:{marked(Split, 'merged')}", str(found)
    assert "the same numbers in another order" in found.says


def test_a_factor_is_told(packed: Packed) -> None:
    found = ar.compare(Split(packed), Split(packed, "scale"), cases=2)
    assert "1.73205 times" in found.says or "0.57735 times" in found.says, found.says


def test_faults_of_the_wild_layers_are_told_at_marked_lines() -> None:
    cls, _, faults = torch_layers.LAYERS[0]
    source = Path(torch_layers.__file__).read_text().splitlines()
    for fault, code in {
        "scaled twice": "att / math.sqrt(width)",
        "softmax over queries": "softmax(dim=-2)",
        "softmax over heads": "softmax(dim=1)",
        "heads merged in another order": "y.reshape(b, t, c)",
    }.items():
        assert fault in faults
        layers = []
        for one in ("", fault):
            torch.manual_seed(0)
            layers.append(cls(one))
        found = ar.compare(*layers, cases=1)
        place = found.places[1]
        assert place is not None
        assert place.line is not None
        assert code in source[place.line.number - 1], f"{fault}: {found}"


def numbers(layer: nn.Module) -> dict[str, np.ndarray]:
    return {name: x.detach().numpy() for name, x in layer.named_parameters()}


def test_torch_against_numpy(packed: Packed) -> None:
    held = numbers(packed)

    def norm(x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * held["norm.weight"] + held["norm.bias"]

    def layer(x: np.ndarray, exact: bool = True) -> np.ndarray:
        b, t, c = x.shape
        qkv = norm(x) @ held["qkv.weight"].T + held["qkv.bias"]
        heads = np.zeros((b, t, c))
        past = np.tril(np.ones((t, t), bool))
        for h in range(HEADS):  # one after the other
            q, k, v = (qkv[..., c * i + 4 * h : c * i + 4 * h + 4] for i in range(3))
            scores = np.where(past, q @ k.swapaxes(1, 2) / 2.0, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads[..., 4 * h : 4 * h + 4] = weights / weights.sum(-1, keepdims=True) @ v
        x = x + heads @ held["out.weight"].T + held["out.bias"]
        h = x @ held["up.weight"].T + held["up.bias"]
        if exact:
            h = h * torch.special.ndtr(torch.from_numpy(np.asarray(h))).numpy()
        else:
            h = h * 0.5 * (1 + np.tanh((2 / np.pi) ** 0.5 * (h + 0.044715 * h**3)))  # tanh
        return x + h @ held["down.weight"].T + held["down.bias"]

    found = ar.compare(packed, layer, framework_b="numpy", cases=5)
    assert found.ok, str(found)
    wrong = ar.compare(packed, lambda x: layer(x, exact=False), framework_b="numpy", cases=5)
    line = inspect.getsourcelines(test_torch_against_numpy)[1]
    lines = HERE.read_text().splitlines()
    expected = next(n for n in range(line, len(lines)) if lines[n - 1].endswith("# tanh"))
    assert wrong.lines[1] == f"{HERE}:{expected}", str(wrong)
    assert wrong.places[0] is not None
    assert wrong.places[0].line is not None
    assert "F.gelu" in wrong.places[0].line.code


def test_other_weights_are_told_as_that(packed: Packed) -> None:
    torch.manual_seed(1)
    with pytest.raises(DifferentWeights, match="hold different weights"):
        ar.compare(packed, Packed())


def test_one_weight_that_was_not_copied_is_told(packed: Packed) -> None:
    other = Split(packed)
    with torch.no_grad():
        nn.init.normal_(other.up.weight)
    found = ar.compare(packed, other)
    assert not found.ok
    assert "the other has not all numbers of b.up.weight" in found.notes
    assert found.places[1] is not None
    assert found.places[1].line is not None
    assert "self.up(x)" in found.places[1].line.code


def test_a_bias_that_is_lost_shows_though_it_is_zero() -> None:
    class Lost(nn.Module):
        def __init__(self, lost: bool) -> None:
            super().__init__()
            self.l, self.lost = nn.Linear(WIDTH, WIDTH), lost
            nn.init.zeros_(self.l.bias)

        def forward(self, x: Any) -> Any:
            return (x @ self.l.weight.T) if self.lost else self.l(x)

    right, wrong = Lost(False), Lost(True)
    wrong.load_state_dict(right.state_dict())
    found = ar.compare(right, wrong, cases=2)
    assert not found.ok
    assert "moved by" in found.case
    assert ar.compare(right, right, cases=2).ok


def test_a_difference_that_only_small_values_show_is_found() -> None:
    """Two eps that are far below the variance of plain numbers."""
    one, other = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-8)
    found = ar.compare(one, other)
    assert not found.ok
    assert "tiny" in found.case


def test_with_a_block_layers_of_other_weights_are_compared_by_their_taps(packed: Packed) -> None:
    block = ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS)
    torch.manual_seed(2)
    one, other = (nn.MultiheadAttention(WIDTH, HEADS, batch_first=first) for first in (True, False))
    found = ar.compare(one, other, block=block, cases=2)
    assert found.ok, str(found)
    assert "compute the same function, each of its own weights" in str(found)
    assert [row.tap for row in found.taps][:4] == ["query", "key", "value", "attention.scores"]
    assert found.verdicts is not None
    assert found.verdicts[1].wiring["key.kernel"] == "in_proj_weight[12:24].T"
    cls, causal, _ = torch_layers.LAYERS[0]
    torch.manual_seed(0)
    right = cls("")
    torch.manual_seed(0)
    found = ar.compare(right, cls("not causal"), block=causal, cases=2)
    assert not found.ok
    assert "of the block's taps, attention.masked is the first that one alone has" in found.notes
    assert next(row for row in found.taps if row.tap == "attention.masked").b is None
    assert found.lines[0] is not None


def test_inputs_and_calls_may_be_given(packed: Packed) -> None:
    class Turned(nn.Module):
        """Width second, and a switch."""

        def __init__(self) -> None:
            super().__init__()
            self.inside = packed

        def forward(self, x: Any, *, scale: Any) -> Any:
            return self.inside(x.permute(0, 2, 1) * scale)

    found = ar.compare(
        packed, Turned(), inputs=[(2, 4, WIDTH)], call=lambda given: ([given["x"]], {}),
        call_b=lambda given: ([given["x"].swapaxes(1, 2)], {"scale": 1.0}), cases=3,
    )  # fmt: skip
    assert found.ok, str(found)
    assert found.inputs == {"x": (2, 4, WIDTH)}
    with pytest.raises(ValueError, match="inputs are arrays"):
        ar.compare(packed, packed, inputs=["x"])


def test_layers_that_cannot_be_run_say_why(packed: Packed) -> None:
    def never(x: Any) -> Any:
        raise RuntimeError("there is no way")

    with pytest.raises(NotATarget, match=r"never could not be called:\n.*there is no way"):
        ar.compare(packed, never)
    with pytest.raises(NotATarget, match="a layer is called"):
        ar.compare(packed, 3)
    with pytest.raises(ValueError, match="block should be one"):
        ar.compare(packed, packed, block="MultiHeadAttention")  # type: ignore[arg-type]


def test_nothing_of_the_layers_changes(packed: Packed) -> None:
    before = {name: x.clone() for name, x in packed.state_dict().items()}
    other = Split(packed)
    state = torch.random.get_rng_state()
    ar.compare(packed, other, cases=2)
    assert all(torch.equal(x, before[name]) for name, x in packed.state_dict().items())
    assert packed.training
    assert torch.equal(torch.random.get_rng_state(), state)


FILE = """
import time
import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self, slope=0.5):
        super().__init__()
        torch.manual_seed(0)
        self.l, self.slope = nn.Linear(12, 12), slope

    def forward(self, x):
        y = self.l(x)
        return torch.nn.functional.leaky_relu(y, self.slope)


def hangs(x):
    while True:
        time.sleep(0.01)
"""


def command(folder: Path, *said: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "attn_ref", "compare", *said], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, which has imported the frameworks; the page below has a process of its own."""
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "broken.py").write_text("import nothing_such")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def command(*said: str) -> tuple[int, str, str]:
        return (in_process("compare", *said), *capsys.readouterr())

    code, out, err = command("mine.py:Layer", "mine.py:Layer", "--cases", "2")
    assert code == 0, err
    assert "agree: 3 cases" in out
    code, out, _ = command("mine.py:Layer", "mine.py:Layer", "--init-b", "slope=0.25", "--json", "-")
    assert code == 1
    found = json.loads(out)
    assert (found["ok"], found["a"]["line"], found["b"]["line"]) == (False, 15, 15)
    assert "x (2, 12)" in command("mine.py:Layer", "mine.py:Layer", "--shape", "2,12", "--cases", "1")[1]
    code, _, err = command("mine.py:Layer", "mine.py:hangs", "--timeout", "1")
    assert (code, "not done after 1 s" in err) == (2, True)
    for said in (
        ["broken.py:x", "mine.py:Layer"],
        ["mine.py:Layer", "mine.py:Layer", "--shape", "a"],
        ["mine.py:Layer", "mine.py:Layer", "--set", "width=8"],
    ):
        code, out, err = command(*said)
        assert (code, out) == (2, ""), said
        assert err.startswith("attn-ref: ")
        assert "Traceback" not in err


def test_the_page_shows_what_the_command_prints() -> None:
    root = HERE.parents[1]
    page = (root / "docs" / "compare.md").read_text("utf-8")
    asked, *want = page.split("```")[1].strip().splitlines()
    done = command(root, *asked.removeprefix("$ attn-ref compare ").split())
    assert done.returncode == 1, done.stderr
    assert want[-1] == "…"
    assert done.stdout.splitlines()[: len(want) - 1] == want[:-1]


keras = pytest.importorskip("keras")


def in_keras(packed: Packed, fault: str = "") -> Any:
    """The same block of Keras's own layers, with the weights of the one of torch."""

    class Block(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.norm = keras.layers.LayerNormalization(epsilon=1e-3 if fault == "eps" else 1e-6)
            self.attention = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
            self.up, self.down = keras.layers.Dense(HIDDEN), keras.layers.Dense(WIDTH)

        def call(self, x: Any) -> Any:
            y = self.norm(x)
            x = x + self.attention(y, y, use_causal_mask=fault != "mask")
            h = keras.ops.gelu(self.up(x), approximate=fault == "gelu")
            return x + self.down(h)

    layer = Block()
    layer(np.zeros((1, 2, WIDTH), "float32"))
    own = numbers(packed)
    values = [own["norm.weight"], own["norm.bias"]]
    for i in range(3):
        part = slice(WIDTH * i, WIDTH * (i + 1))
        values += [own["qkv.weight"][part].T.reshape(WIDTH, HEADS, -1), own["qkv.bias"][part].reshape(HEADS, -1)]
    values += [own["out.weight"].T.reshape(HEADS, -1, WIDTH), own["out.bias"]]
    values += [own["up.weight"].T, own["up.bias"], own["down.weight"].T, own["down.bias"]]
    layer.set_weights(values)
    return layer


@pytest.mark.parametrize("fault", ["", "eps", "gelu", "mask"])
def test_torch_against_keras(packed: Packed, fault: str) -> None:
    found = ar.compare(packed, in_keras(packed, fault), cases=4)
    assert found.ok is (not fault), str(found)
    if not fault:
        assert any(said == "a.qkv.weight[0:12].T" for _, said in found.weights)
        return
    a, b = found.places
    assert a is not None
    assert a.line is not None
    assert FAULTS[fault] in a.line.code
    assert b is not None
    assert b.line is not None
    code = {"eps": "self.norm(x)", "gelu": "keras.ops.gelu", "mask": "self.attention(y, y"}[fault]
    assert code in b.line.code, str(found)


def test_attention_of_torch_and_of_keras_with_weights_copied() -> None:
    torch.manual_seed(3)
    one = nn.MultiheadAttention(WIDTH, HEADS)
    nn.init.normal_(one.in_proj_bias)
    other = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
    other(np.zeros((1, 2, WIDTH), "float32"), np.zeros((1, 2, WIDTH), "float32"))
    own = numbers(one)
    values = []
    for i in range(3):
        part = slice(WIDTH * i, WIDTH * (i + 1))
        values += [
            own["in_proj_weight"][part].T.reshape(WIDTH, HEADS, -1),
            own["in_proj_bias"][part].reshape(HEADS, -1),
        ]
    other.set_weights([*values, own["out_proj.weight"].T.reshape(HEADS, -1, WIDTH), own["out_proj.bias"]])
    found = ar.compare(one, other, cases=4)
    assert found.ok, str(found)
    assert found.calls == ("layer(x, y, y), batch second", "layer(x, y)")
    other.set_weights([values[2], values[1], values[0], *values[3:], *other.get_weights()[6:]])
    assert not ar.compare(one, other, cases=2).ok, "queries and keys are exchanged"


@pytest.mark.parametrize("counted", [False, True])
def test_maps_first_against_last_and_what_padding_counts_for(counted: bool) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(WIDTH, 8, 3, padding=1)
            self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=counted)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.conv(x))
            return self.pool(y)

    class Last(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = keras.layers.Conv2D(8, 3, padding="same", activation="relu")
            self.pool = keras.layers.AveragePooling2D(3, 1, padding="same")

        def call(self, x: Any) -> Any:
            y = self.conv(x)
            return self.pool(y)

    torch.manual_seed(4)
    one, other = Pooled(), Last()
    other(np.zeros((1, 4, 4, WIDTH), "float32"))
    own = numbers(one)
    other.set_weights([own["conv.weight"].transpose(2, 3, 1, 0), own["conv.bias"]])
    found = ar.compare(one, other, cases=4)
    assert found.calls == ("layer(x), channels first", "layer(x)")
    assert found.ok is not counted, str(found)
    if counted:
        assert [place and place.line and place.line.code for place in found.places] == ["return self.pool(y)"] * 2
