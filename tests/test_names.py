"""Names and arguments that people try: each gets what it needs, or the thing itself."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from pace import pace

import attn_ref as ar
from attn_ref.cli import cli
from attn_ref.names import Named, suggest

X = np.ones((1, 3, 8))
BLOCK = ar.MultiHeadAttention(width=8, num_heads=2)
W = BLOCK.init()


def refused(kind: type[Exception], call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(kind) as error:
        call(*args, **kwargs)
    return str(error.value)


# blocks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled", ["multiheadattention", "multi_head_attention", "MultiheadAttention", "Multi-Head Attention"]
)
def test_a_block_is_found_however_its_name_is_spelled(spelled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ar.block(spelled) is ar.MultiHeadAttention
    cli(["show", spelled, "--source"], standalone_mode=False)
    assert "class MultiHeadAttention(Block)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MHA", "MultiHeadAttention"), ("SDPA", "ScaledDotProductAttention"), ("SE", "SqueezeExcitation"),
        ("SEBlock", "SqueezeExcitation"), ("sk", "SelectiveKernel"), ("ViT", "VisionTransformer"),
        ("BERT", "TextEncoder"), ("ALiBi", "LinearPositionBias"), ("RoPE", "RotaryEmbedding"), ("MLP", "FeedForward"),
        ("T5", "RelativePositionBias or EncoderDecoder"), ("SAGAN", "SpatialSelfAttention"),
        ("DANet", "ChannelSelfAttention"),
        ("GQA", "MultiHeadAttention"), ("torch.nn.MultiheadAttention", "MultiHeadAttention"),
        ("MultiHeadSelfAttention", "MultiHeadAttention or MultiHeadAttention2d"), ("FeedFoward", "FeedForward"),
        ("TransformerEncoderLayer", "EncoderLayer"), ("encoder", "EncoderLayer, EncoderDecoder or TextEncoder"),
        ("SelfAttention", "MultiHeadAttention, ChannelSelfAttention or SpatialSelfAttention"),
    ],
)  # fmt: skip
def test_a_block_is_suggested(name: str, meant: str) -> None:
    assert refused(ValueError, ar.block, name).startswith(f"unknown block {name!r}; did you mean {meant}? the blocks")


def test_several_blocks_that_fit_are_all_named() -> None:
    every = [name for name in ar.blocks() if "Attention" in name]
    for name in ("Attention", "attention", "Atention"):
        assert suggest(name, ar.blocks()) == every
    text = refused(AttributeError, getattr, ar, "Attention")
    assert [name for name in every if name not in text] == []
    assert refused(ValueError, ar.block, "foo").startswith(
        "unknown block 'foo'; the blocks are AttentionPooling, CBAM, "
    )


def test_attributes_of_the_package() -> None:
    said = "module 'attn_ref' has no attribute"
    assert refused(AttributeError, getattr, ar, "MHA") == f"{said} 'MHA'; did you mean MultiHeadAttention?"
    assert refused(AttributeError, getattr, ar, "recrod") == f"{said} 'recrod'; did you mean record?"
    assert refused(AttributeError, getattr, ar, "__wrapped__") == f"{said} '__wrapped__'"


# engines --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("keras", "the mirrors of keras run on tensorflow or jax; "),
        ("pytorch", "did you mean torch? "), ("tf", "did you mean tensorflow? "), ("flax", "did you mean jax? "),
        ("Torch", "did you mean torch? "), ("compile", "did you mean torch-compile? "),
        ("xla", "did you mean tensorflow-xla? "),
        ("numpy", "NumPy is the reference itself, so call the block: block(w, …); "), ("mlx", ""),
    ],
)  # fmt: skip
def test_engines(name: str, said: str) -> None:
    wanted = f"unknown engine {name!r}; {said}the engines are torch, torch-compile,"
    assert refused(ValueError, ar.backend, name).startswith(wanted)
    assert refused(ValueError, ar.check, "FeedForward", engines=name).startswith(wanted)
    assert refused(ValueError, cli, ["check", "--engine", name], standalone_mode=False).startswith(wanted)


# arguments ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "given", "said"),
    [
        (
            ar.check,
            {"engine": "torch"},
            "check() has no argument engine; did you mean engines? its arguments are *blocks",
        ),
        (ar.check, {"block": "CBAM"}, "did you mean *blocks (without a name)?"),
        (ar.check, {"blocks": ["CBAM"]}, "did you mean *blocks (without a name)?"),
        (
            ar.check,
            {"dtype": "float32", "mode": "gradient", "case": 3},
            "did you mean dtypes for dtype, modes for mode, cases for case?",
        ),
        (ar.port.convert, {"src": "a", "dst": "b"}, "did you mean source for src, target for dst?"),
        (ar.port.load, {"from_map": "a"}, "load() has no argument from_map; did you mean from_?"),
        (ar.port.plan, {"sets": {}}, "plan() has no argument sets; did you mean set?"),
        (ar.port.plan, {"qqq": {}}, "plan() has no argument qqq; its arguments are source, target"),
    ],
)
def test_an_argument_is_suggested(call: Any, given: dict[str, Any], said: str) -> None:
    assert said in refused(TypeError, call, **given)


def test_a_function_keeps_its_signature() -> None:
    for function in (ar.check, ar.port.convert, ar.port.load, ar.port.plan):
        assert inspect.signature(function) == inspect.signature(inspect.unwrap(function))
        assert "args" not in inspect.signature(function).parameters


@pytest.mark.parametrize(
    ("block", "given", "said"),
    [
        (
            ar.MultiHeadAttention,
            {"embed_dim": 8, "heads": 2},
            "width for embed_dim, num_heads or num_kv_heads for heads?",
        ),
        (ar.MultiHeadAttention, {"key_dim": 8}, "did you mean key_width or head_width?"),
        (ar.MultiHeadAttention, {"qkv_bias": 8}, "did you mean use_bias, key_bias or output_bias?"),
        (ar.MultiHeadAttention, {"n_head": 8, "d_model": 8}, "num_heads for n_head, width for d_model?"),
        (ar.VisionTransformer, {"img_size": 8}, "did you mean image_height or image_width?"),
        (ar.VisionTransformer, {"patch_size": 8, "depth": 1}, "patch for patch_size, num_layers for depth?"),
        (ar.TextEncoder, {"hidden_size": 8}, "did you mean width?"),
        (ar.TextEncoder, {"intermediate_size": 8, "num_attention_heads": 1}, "hidden_width for inter"),
        (ar.TextEncoder, {"max_position_embeddings": 8}, "did you mean max_length?"),
        (ar.SqueezeExcitation, {"in_channels": 8, "ratio": 4}, "channels for in_channels, reduction for ratio?"),
    ],
)
def test_an_option_is_suggested(block: type[ar.Block], given: dict[str, Any], said: str) -> None:
    text = refused(TypeError, block, **given)
    assert text.startswith(f"{block.__name__} has no option {', '.join(given)}; did you mean ")
    assert said in text
    assert refused(ValueError, block.build, given) == text
    settings = [word for name in given for word in ("--set", f"{name}=1")]
    assert refused(ValueError, cli, ["show", block.__name__, *settings], standalone_mode=False) == text


def test_options_go_by_name() -> None:
    said = "options of MultiHeadAttention go by name: MultiHeadAttention(width=8, num_heads=4); got 2 without"
    assert refused(TypeError, ar.MultiHeadAttention, 8, 2) == said


@pytest.mark.parametrize("name", ar.blocks())
def test_a_block_is_as_any_dataclass(name: str) -> None:
    cls = ar.block(name)
    own = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    assert list(inspect.signature(cls).parameters.values()) == own
    block = cls(**cls.example)
    assert list(inspect.signature(block).parameters) == ["w", "args", "kwargs"]
    assert block == pickle.loads(pickle.dumps(block)) == copy.deepcopy(block)


# taps -----------------------------------------------------------------------------------------------------------------


def test_a_tap_is_suggested() -> None:
    said = "no tap 'weights'; did you mean attention.weights? the taps are query, key, value, attention.scores"
    torch = ar.backend("torch")
    layer = torch.load(torch.build(BLOCK), W)
    with ar.record() as taps:
        BLOCK(W, X)
    with ar.add({"query": np.zeros((1, 2, 3, 4))}) as added:
        BLOCK(W, X)
    run = torch.gradients(layer, {"query": X}, np.ones((1, 3, 8)))
    for found in (taps, added, run.taps, torch.run(layer, {"query": X}).taps):
        assert said in refused(KeyError, found.__getitem__, "weights")
        assert isinstance(found, dict)
        assert found.get("weights") is None
    text = refused(KeyError, run.gradients.__getitem__, "query.kernel")
    assert "no gradient 'query.kernel'; did you mean parameter query.kernel?" in text
    assert "no such tap: weights; did you mean attention.weights?" in refused(ValueError, with_replaced, "weights")


def with_replaced(name: str) -> None:
    with ar.replace({name: X}):
        BLOCK(W, X)


def test_names_from_a_strangers_file_take_no_time() -> None:
    start = time.process_time()
    assert suggest("ab" * 10**6, ar.blocks()) == []
    text = refused(ValueError, ar.FeedForward.build, {f"widht{i}": i for i in range(20_000)})
    assert "width for widht7? its options" in text
    assert time.process_time() - start < 5 * pace()


def test_very_many_names_are_cut() -> None:
    text = refused(KeyError, Named("tap", {f"t{i}": i for i in range(1000)}).__getitem__, "?")
    assert "t29, … and 970 more" in text
    assert len(text) < 300
    assert "the taps are none" in refused(KeyError, Named("tap").__getitem__, "x")


# what a check takes ---------------------------------------------------------------------------------------------------


def test_a_check_of_something_else() -> None:
    import torch

    own = "A layer of your own is held to a block by ar.conform(layer, ar.FeedForward("
    mine = torch.nn.MultiheadAttention(8, 2)
    dense = type("Dense", (), {"__module__": "keras.src.layers.core.dense"})  # without the seconds that Keras takes
    for layer in (mine, type(mine), dense(), dense, type("Mine", (dense,), {})()):
        assert own in refused(ValueError, ar.check, layer)
    assert "give 'MultiHeadAttention', whose options it draws itself" in refused(ValueError, ar.check, BLOCK)
    mirror = ar.backend("torch").build(BLOCK)
    assert "give 'MultiHeadAttention', whose mirrors it runs itself" in refused(ValueError, ar.check, mirror)
    assert "one after the other: check('FeedForward', 'CBAM')" in refused(ValueError, ar.check, ["FeedForward"])
    assert refused(ValueError, ar.check, "FeedForward", "torch").startswith("torch is an engine, not a block")
    assert len(refused(ValueError, ar.check, torch.nn.Sequential(*[mine] * 50))) < 600
    assert "attn-ref conform mine.py:Mine --block NAME" in refused(ValueError, ar.check, "mine.py:Mine")
    assert "attn-ref conform mine.py:YourLayer --block NAME" in refused(ValueError, ar.check, "mine.py")


# commands -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shwo", "Did you mean show?"), ("blocks", "Did you mean list?"), ("verify", "Did you mean check?"),
        ("convert", "Did you mean port?"), ("help", "Did you mean --help?"), ("qqq", "No such command 'qqq'."),
        ("FeedForward", "Did you mean 'show FeedForward' or 'check FeedForward'?"),
    ],
)  # fmt: skip
def test_a_command_is_suggested(name: str, said: str) -> None:
    with pytest.raises(click.UsageError) as error:
        cli([name], standalone_mode=False)
    assert error.value.format_message().endswith(said)


@pytest.mark.parametrize("case", ["nofile", ".", "binary"])
def test_reproduce_says_what_a_case_is(case: str, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    text = refused(ValueError, cli, ["reproduce", str(tmp_path / case)], standalone_mode=False)
    assert text.startswith(
        "CASE is the JSON line that a report shows, a file that holds it, or '-' for standard input; "
    )
    assert f"{tmp_path / case} cannot be read: " in text


def test_a_case_that_is_cut_is_no_case() -> None:
    assert refused(ValueError, cli, ["reproduce", '{"block'], standalone_mode=False).startswith(
        "not a case: Unterminated"
    )


# frameworks that are not there ----------------------------------------------------------------------------------------

HIDDEN = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])
sys.meta_path.insert(0, Hide())
import attn_ref as ar
assert all(cls.mirrors("FeedForward") for cls in ar.backends().values()), "a file is found without importing it"
for line in sys.stdin.read().splitlines():
    try:
        exec(line)
    except ImportError as error:
        print(type(error).__name__, error)
"""
#: statements, one a package and form
IMPORTS = {
    "torch": ["from attn_ref_torch.blocks.multi_head_attention import MultiHeadAttention",
              "from attn_ref_torch.models.text_encoder import TextEncoder", "import attn_ref_torch.blocks.cbam",
              "import attn_ref_torch; attn_ref_torch.MultiHeadAttention"],
    "keras": ["from attn_ref_keras.blocks.multi_head_attention import MultiHeadAttention",
              "from attn_ref_keras.models.text_encoder import TextEncoder",
              "from attn_ref_keras.functional import functional", "import attn_ref_keras; attn_ref_keras.CBAM"],
}  # fmt: skip


@pytest.mark.parametrize("package", IMPORTS)
def test_a_mirror_without_its_framework_says_what_to_install(package: str) -> None:
    script = HIDDEN.format(hidden=("torch", "keras", "tensorflow", "jax"))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input="\n".join(IMPORTS[package]), capture_output=True, text=True, check=True)
    wanted = f"MissingBackend attn_ref_{package} needs {package}: pip install 'attn_ref[{package}]'"
    assert done.stdout.splitlines() == [wanted] * len(IMPORTS[package])


# a new user's arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((X,), "weights come first, a dict by name: block(w, query, …); w = block.init() gives some; got a ndarray"),
        ((None, X), "weights come first, a dict by name"),
        ((W, X[0]), "rank 2, and 3 is accepted; a single example is a batch of 1: x[None]"),
        ((W, X.astype(int)), "kind index; query.astype(float)"),
        ((W, [[1.0, 2.0], [3.0]]), "query: no NumPy array can be made of this list: "),
        (
            (W, X, None, None, np.ones((1, 1, 3, 3), int)),
            "kind index; attention_mask == 1 if 1 means attend, attention_mask == 0 if 1 means drop",
        ),
        (
            (W, X, None, None, np.zeros((1, 1, 3, 3))),
            "attention_mask == 0 if 1 means drop; what is added to the scores is the input bias",
        ),
        (({"query.weight": X}, X), "names of a layer in torch: backend.dump(layer) gives those of the block"),
    ],
)
def test_calls_that_a_new_user_tries(given: tuple[Any, ...], said: str) -> None:
    assert said in refused(ValueError, BLOCK, *given)


def test_inputs_by_the_names_of_others() -> None:
    assert "has no input 'mask'; did you mean attention_mask?" in refused(ValueError, BLOCK, W, X, mask=X)
    assert "has no input 'causal'; causal is an option: Multi" in refused(ValueError, BLOCK, W, X, causal=True)
    assert "has no input 'q'; did you mean query?" in refused(ValueError, BLOCK, W, q=X)
    encoder = ar.TextEncoder(**ar.TextEncoder.example)
    text = refused(ValueError, encoder, encoder.init(), input_ids=X, token_type_ids=X)
    assert "did you mean token_ids for input_ids, segment_ids for token_type_ids?" in text
    assert refused(ValueError, ar.ScaledDotProductAttention(), {}, X, X, X).endswith("rank 3, and 4 is accepted")
    assert "this block has none, so w = {}" in refused(ValueError, ar.ScaledDotProductAttention(), X, X, X)
    cbam = ar.CBAM(**ar.CBAM.example)
    text = refused(ValueError, cbam, cbam.init(), np.ones((1, 8, 5, 6)))
    assert text.endswith("axis {channels} is 6, not 8; channels come last: np.moveaxis(x, 1, -1)")


def test_tensors_are_taken_where_numpy_can_hold_them() -> None:
    import torch

    tensor = torch.ones(1, 3, 8, dtype=torch.float64, requires_grad=True)
    weights = {name: torch.from_numpy(value).requires_grad_() for name, value in W.items()}
    np.testing.assert_array_equal(BLOCK(weights, tensor), BLOCK(W, X))
    np.testing.assert_array_equal(BLOCK(weights, tensor.bfloat16()), BLOCK(W, X.astype(np.float32)))
    text = refused(ValueError, BLOCK, W, torch.eye(8).to_sparse())
    assert "query: no NumPy array can be made of this torch.Tensor of dtype torch.float32" in text


def test_backends_say_what_they_take() -> None:
    torch = ar.backend("torch")
    layer = torch.build(BLOCK)
    assert refused(ValueError, torch.run, layer, X) == "inputs go by name, {'query': …}; got a ndarray"
    assert "a backend runs a mirror, as backend.load(" in refused(ValueError, torch.run, BLOCK, {"query": X})
    assert "weights go by name" in refused(ValueError, torch.load, W, layer)
    for given in (ar.FeedForward, "FeedForward"):
        text = refused(ValueError, torch.build, given)
        assert text.startswith("a mirror is built of a block with its options, such as FeedForward(width=8")
    for engine in ("torch", "tensorflow"):
        text = refused(ValueError, ar.backends()[engine].mirror, torch, BLOCK, "fp32")
        assert text.startswith("unknown dtype 'fp32'; did you mean float32? the dtypes are float64, float32,")
    assert "no engine 'pytorch'; did you mean torch?" in refused(KeyError, ar.backends().__getitem__, "pytorch")
    assert "no block 'MHA'; did you mean MultiHeadAttention?" in refused(KeyError, ar.blocks().__getitem__, "MHA")
