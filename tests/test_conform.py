"""A stranger's layer, as it is: where it parts from a block, at which line and why; and that right ones agree."""

from __future__ import annotations

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
from wild.torch_layers import LAYERS  # noqa: E402
from wild.torch_more import blocks as more  # noqa: E402

from attn_ref.verbs.conform import NotATarget  # noqa: E402

WILD = Path(__file__).parent / "wild" / "torch_layers.py"
#: of each layer the everyday tests have this many faults, the deep ones all
EVERYDAY = 3
CASES = [
    pytest.param(
        cls, block, fault, *said, id=f"{cls.__name__}: {fault}", marks=[pytest.mark.deep] if n >= EVERYDAY else []
    )
    for cls, block, faults in LAYERS
    for n, (fault, said) in enumerate(faults.items())
]


def layer_of(cls: Any, fault: str = "") -> Any:
    torch.manual_seed(0)
    return cls(fault)


@pytest.mark.parametrize(("cls", "block"), [(cls, block) for cls, block, _ in LAYERS], ids=lambda x: type(x).__name__)
def test_a_right_layer_agrees(cls: Any, block: Any) -> None:
    verdict = ar.conform(layer_of(cls), block, cases=10)
    assert verdict.ok, str(verdict)
    assert verdict.places == []
    assert verdict.cases == 11
    assert verdict.worst is not None
    assert verdict.worst < 16
    assert set(verdict.wiring) == set(block.params())


@pytest.mark.parametrize(("cls", "block", "fault", "taps", "reasons"), CASES)
def test_a_fault_is_found_at_its_place(cls: Any, block: Any, fault: str, taps: str, reasons: str) -> None:
    """The tap, a line of the layer's own file, and the reason where there is one for it."""
    verdict = ar.conform(layer_of(cls, fault), block, cases=4)
    assert not verdict.ok, str(verdict)
    if taps:
        assert verdict.first in taps.split("|"), str(verdict)
    if reasons:
        assert verdict.trap in reasons.split("|"), str(verdict)
    assert verdict.line is not None
    assert verdict.line.startswith(str(WILD)), "the line is the user's"
    first = verdict.places[0].line
    assert first is not None
    assert cls.__name__ in WILD.read_text().splitlines()[: first.number][-1] or class_at(first.number) == cls.__name__


@pytest.mark.parametrize(("cls", "block", "faults"), more(), ids=[cls.__name__ for cls, *_ in more()])
def test_layers_that_the_search_was_not_written_for(cls: Any, block: Any, faults: dict[str, tuple[str, str]]) -> None:
    verdict = ar.conform(layer_of(cls), block, cases=30)
    assert verdict.ok, str(verdict)
    for fault, (tap, why) in faults.items():
        verdict = ar.conform(layer_of(cls, fault), block, cases=3)
        assert verdict.ok == (tap == "nothing"), f"{fault}: {verdict}"
        assert verdict.first == (None if tap == "nothing" else tap), f"{fault}: {verdict}"
        assert not why or verdict.trap == why, f"{fault}: {verdict}"


def class_at(number: int) -> str:
    """The class in which a line of the file stands."""
    above = [line for line in WILD.read_text().splitlines()[:number] if line.startswith("class ")]
    return above[-1].removeprefix("class ").partition("(")[0]


def mha(width: int = 8, heads: int = 2, **options: Any) -> ar.MultiHeadAttention:
    return ar.MultiHeadAttention(width=width, num_heads=heads, **options)


def test_layers_of_torch_are_read_as_they_are() -> None:
    for first in (True, False):
        verdict = ar.conform(nn.MultiheadAttention(8, 2, batch_first=first), mha(), cases=6)
        assert verdict.ok, str(verdict)
        assert ("batch second" in verdict.call) is not first
        assert verdict.wiring["key.kernel"] == "in_proj_weight[8:16].T"
    wide = nn.MultiheadAttention(8, 2, kdim=5, vdim=6, batch_first=True)
    assert ar.conform(wide, mha(key_width=5, value_width=6), cases=6).wiring["value.kernel"] == "v_proj_weight.T"
    layer = nn.TransformerEncoderLayer(8, 2, 16, layer_norm_eps=1e-3, norm_first=True)
    verdict = ar.conform(layer, ar.EncoderLayer(width=8, num_heads=2, hidden_width=16, norm_first=True))
    assert (verdict.first, verdict.trap) == ("attention_norm", "norm-eps-keras")
    assert "transformer.py" in str(verdict.line), "a framework's own layer is named in its own file"
    assert "--set eps=0.001" in str(verdict)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["query", "key", "value"])
def test_a_projection_without_a_bias_beside_others_that_have_one(part: int) -> None:
    """As the keys of Whisper: it is not taken for a product whose bias comes next."""
    layer = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        layer.in_proj_bias.uniform_(-1, 1)
        layer.in_proj_bias[12 * part : 12 * part + 12] = 0
    verdict = ar.conform(layer, mha(12, 3), cases=3)
    assert verdict.ok, str(verdict)
    assert verdict.wiring["query.kernel"] == "in_proj_weight[0:12].T"


def test_a_layer_that_reads_the_wrong_input_is_found_by_a_later_case() -> None:
    """Self-attention agrees."""

    class OnlyQuery(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

        def forward(self, q: Any, k: Any, v: Any) -> Any:
            a, b, c = (y.unflatten(-1, (2, -1)).transpose(1, 2) for y in self.qkv(q).chunk(3, -1))
            return self.out(nn.functional.scaled_dot_product_attention(a, b, c).transpose(1, 2).flatten(2))

    verdict = ar.conform(OnlyQuery(), mha())
    assert (verdict.ok, verdict.first, verdict.trap) == (False, "key", "another-input")
    assert "key (" in verdict.case


def test_a_test_of_a_stranger_fails_with_the_place() -> None:
    from attn_ref.testing import assert_conforms

    assert assert_conforms(nn.MultiheadAttention(8, 2), mha(), cases=2).ok
    with pytest.raises(AssertionError, match=r"differs first at attention.weights\n  line .*torch_layers.py:"):
        assert_conforms(layer_of(LAYERS[0][0], "softmax over queries"), LAYERS[0][1])


def test_a_step_inside_of_a_norm_is_not_the_place() -> None:
    """A layer norm of torch gives its result at once; what is wrong comes after it."""
    block = ar.TransformerLayer(
        width=8, attention=mha(), feed_forward=ar.FeedForward(width=8, hidden_width=16, activation="gelu"),
        norm=ar.LayerNorm(width=8),
    )  # fmt: skip
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="relu", norm_first=True)
    for norm in (layer.norm1, layer.norm2):  # or what stands inside would be what comes out
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias)
    verdict = ar.conform(layer, block)
    assert (verdict.first, verdict.trap) == ("feed_forward.active", "relu-activation")


def test_two_faults_are_both_found() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)

        def forward(self, x: Any) -> Any:
            q, k, v = (y.unflatten(-1, (3, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
            scores = q @ k.mT / 12**0.5
            return self.out((scores.softmax(-1) @ v).reshape(*x.shape))

    verdict = ar.conform(Two(), mha(12, 3))
    assert [place.tap for place in verdict.places] == ["attention.scores", "merged"]
    named = [place.reason.name for place in verdict.places if place.reason]
    assert named == ["scale-by-model-width", "merged-without-transposing"]


def test_nothing_of_the_layer_is_changed() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5).train()
    layer.register_forward_hook(lambda *_: None)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    ar.conform(layer, ar.EncoderLayer(width=8, num_heads=2, hidden_width=16), cases=2)
    assert torch.equal(torch.rand(1), want), "the random numbers are"
    assert layer.training
    assert next(layer.parameters()).dtype == torch.float32
    assert all(torch.equal(value, layer.state_dict()[name]) for name, value in before.items())


class Odd(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.linear, self.spare = how, nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        if self.how == "raises":
            raise RuntimeError("no")
        if self.how == "nothing":
            return None
        if self.how == "draws":
            return self.linear(x) + torch.rand_like(x)
        if self.how == "in place":
            x += 1
        if self.how == "NaN":
            return self.linear(x) * float("nan")
        return self.linear(x)


@pytest.mark.parametrize(
    ("how", "note"),
    [
        ("draws", "something else each time"), ("in place", "changes its input in place"), ("NaN", "gives NaN"),
        ("no attention", "parameters that no operation takes: spare.weight, spare.bias"),
    ],
)  # fmt: skip
def test_what_is_odd_about_a_layer_is_said(how: str, note: str) -> None:
    verdict = ar.conform(Odd(how), mha())
    assert not verdict.ok
    assert any(note in said for said in verdict.notes), verdict.notes


def test_what_cannot_be_run_is_refused_with_what_was_tried() -> None:
    with pytest.raises(NotATarget, match=r"could not be called:\n  layer\(query\): RuntimeError: no"):
        ar.conform(Odd("raises"), mha())
    with pytest.raises(NotATarget, match="it gives no tensor of real numbers"):
        ar.conform(Odd("nothing"), mha())
    with pytest.raises(NotATarget, match="got a int, which cannot be"):
        ar.conform(3, mha())
    with pytest.raises(ValueError, match="block should be one with its options"):
        ar.conform(Odd("draws"), "MultiHeadAttention")  # type: ignore[arg-type]


def test_the_specification_can_be_kept() -> None:
    verdict = ar.conform(nn.MultiheadAttention(8, 2, batch_first=True), mha(), cases=2)
    told = json.loads(json.dumps(verdict.to_json()))
    assert told["ok"]
    assert told["block"] == "MultiHeadAttention"
    assert told["call"] == "layer(query, key, value)"
    assert told["wiring"]["project.kernel"] == "out_proj.weight.T"
    assert ar.block(told["block"]).build(told["fields"]) == verdict.block


FAMILIES = {
    "llama": ("LlamaMLP", "LlamaConfig", {"hidden_size": 12, "intermediate_size": 20, "num_attention_heads": 1}),
    "vit": ("ViTLayer", "ViTConfig", {"hidden_size": 12, "intermediate_size": 20, "num_attention_heads": 3}),
    "bert": ("BertLayer", "BertConfig", {"hidden_size": 12, "intermediate_size": 20, "num_attention_heads": 3}),
}
ENCODER = {"width": 12, "num_heads": 3, "hidden_width": 20, "activation": "gelu", "eps": 1e-12}
BLOCKS = {
    "llama": ar.GatedFeedForward(width=12, hidden_width=20),
    "vit": ar.EncoderLayer(**ENCODER, norm_first=True),
    "bert": ar.EncoderLayer(**ENCODER),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_transformers_are_wired_without_help(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    from importlib import import_module

    name, config, sizes = FAMILIES[family]
    told = getattr(transformers, config)(**sizes)
    told._attn_implementation = "sdpa"
    layer = getattr(import_module(f"transformers.models.{family}.modeling_{family}"), name)(told)
    verdict = ar.conform(layer, BLOCKS[family], cases=5)
    assert verdict.ok, str(verdict)


# Keras ----------------------------------------------------------------------------------------------------------------


def keras_of() -> Any:
    ar.backend("tensorflow")
    import keras

    return keras


def test_a_layer_of_keras_is_read_in_float64() -> None:
    keras = keras_of()
    verdict = ar.conform(keras.layers.MultiHeadAttention(3, 4), mha(12, 3), cases=6)
    assert verdict.ok, str(verdict)
    assert verdict.wiring["query.kernel"].endswith("query/kernel.reshape(12, 12)")


def test_a_functional_model_without_an_activation_is_told_by_its_layer() -> None:
    """Its sizes are fixed, which is seen; it has no line of its own, so its layer is named."""
    keras = keras_of()
    layers = keras.layers
    x = keras.Input((10, 16))
    one, two = layers.LayerNormalization(epsilon=1e-6), layers.LayerNormalization(epsilon=1e-6)
    normed = one(x)
    h = x + layers.MultiHeadAttention(4, 4)(normed, normed)
    model = keras.Model(x, h + layers.Dense(16, name="narrow")(layers.Dense(32, name="wide")(two(h))))
    block = ar.EncoderLayer(width=16, num_heads=4, hidden_width=32, norm_first=True, activation="gelu", eps=1e-6)
    verdict = ar.conform(model, block, cases=3)
    assert (verdict.first, verdict.trap) == ("feed_forward.active", "activation-left-out")
    assert "in layer 'wide'" in verdict.places[0].operation


def test_a_subclassed_layer_of_keras_is_told_by_its_line() -> None:
    keras = keras_of()

    class Excite(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.down, self.up = keras.layers.Dense(2, activation="relu"), keras.layers.Dense(8)

        def call(self, x: Any) -> Any:
            gate = self.up(self.down(keras.ops.max(x, axis=(1, 2))))
            return x * keras.ops.sigmoid(gate)[:, None, None]

    verdict = ar.conform(Excite(), ar.SqueezeExcitation(channels=8, reduction=4), cases=2)
    assert verdict.first == "squeezed"
    assert verdict.places[0].line is not None
    assert "keras.ops.max" in verdict.places[0].line.code


# the command ----------------------------------------------------------------------------------------------------------

ARGUMENTS = ("--block", "MultiHeadAttention", "--set", "width=12", "--set", "num_heads=3", "--set", "causal=top_left")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "attn_ref", "conform", *arguments], capture_output=True, text=True, timeout=120
    )


def test_the_command_names_place_line_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "verdict.json"
    done = command(f"{WILD}:Packed", *ARGUMENTS, "--init", "fault=softmax over queries", "--json", str(file))
    assert done.returncode == 1, done.stderr
    assert "differs first at attention.weights" in done.stdout
    assert "att = att.softmax(dim=-2)" in done.stdout
    assert "the softmax runs over the queries, not over the keys" in done.stdout
    assert json.loads(file.read_text())["places"][0]["reason"] == "softmax-over-queries"


@pytest.mark.parametrize(
    ("target", "more", "says"),
    [
        ("nowhere.py:Mine", (), "nowhere.py: no such file"),
        ("no_such_module:Mine", (), "no_such_module does not import: ModuleNotFoundError"),
        ("Mine", (), "TARGET is package.module:object or path/to/file.py:object; got 'Mine'"),
        ("torch.nn:MultiheadAttentio", (), "torch.nn has no MultiheadAttentio; did you mean MultiheadAttention?"),
        ("torch.nn:MultiheadAttention", (), "MultiheadAttention could not be made: TypeError"),
        ("math:pi", (), "math:pi is a float, which cannot be called"),
        ("math:sqrt", ("--init", "a=1"), "--init is for a class"),
    ],
)
def test_a_target_that_is_none_is_told(
    target: str, more: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert in_process("conform", target, *ARGUMENTS, *more) == 2
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_a_layer_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "hangs.py"
    file.write_text(
        "from torch import nn\nclass Hangs(nn.Module):\n    def forward(self, x):\n        while True: pass\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert in_process("conform", f"{file}:Hangs", *ARGUMENTS, "--timeout", "1") == 2
    assert "the layer was not done after 1 s; --timeout gives it longer" in capsys.readouterr().err


def test_values_are_found_in_any_order_of_axes() -> None:
    from attn_ref.trace.match import Finder
    from attn_ref.trace.record import Record
    from attn_ref.trace.steps import scrambled

    value = np.random.default_rng(0).normal(size=(3, 2, 5, 4))
    moved = value.transpose(0, 2, 1, 3)
    ways = {"same": value, "exchanged": moved, "joined": moved.reshape(3, 5, 8), "folded": value.reshape(6, 5, 4)}
    for way in ways.values():
        assert Finder([Record(0, "op", way, None)]).find(value) is not None
    assert Finder([Record(0, "op", value.reshape(3, 5, 8), None)]).find(value) is None
    assert scrambled(value.reshape(3, 5, 8), value.reshape(3, 5, 8)[::-1])
