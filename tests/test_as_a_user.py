"""What a user would do that a developer would not think of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import attn_ref as ar
from attn_ref.cli import cli


def command(*arguments: object) -> int:
    return cli([str(a) for a in arguments], standalone_mode=False)


def test_a_script_without_a_main_guard_can_check(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import attn_ref as ar\nprint(ar.check('FeedForward', engines='torch', cases=2))\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.count("AGREE") == 1
    assert "FeedForward" in done.stdout


def test_a_padding_mask_of_rank_two_is_not_taken_for_another() -> None:
    """(b, s) and (t, s) are alike when b = t."""
    block, x = ar.MultiHeadAttention(width=4, num_heads=2), np.ones((3, 3, 4))
    padding = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match=r"padding\[:, None, None, :\] for \(b, s\), mask\[None, None\] for \(t, s\)"):
        block(block.init(), x, attention_mask=padding)
    assert block(block.init(), x, attention_mask=padding[:, None, None, :]).shape == x.shape


@pytest.mark.parametrize("name", ["check", "port"])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(name: str, tmp_path: Path) -> None:
    report, out = tmp_path / "no" / "report.json", tmp_path / "out.npz"
    arguments = {"check": ["FeedForward", "--cases", 1], "port": [tmp_path / "in.npz", out]}[name]
    with pytest.raises(ValueError, match=r"cannot write .*report\.json: .*no is no folder one can write to"):
        command(name, *arguments, "--json", report)
    assert not out.exists()


def test_none_is_a_word() -> None:
    command("show", "TextEncoder", "--set", "pooling=none", "--json")
    with pytest.raises(ValueError, match="use_bias should be True or False; got 'no'"):
        command("show", "MultiHeadAttention", "--set", "use_bias=no")


def test_list_lists_options_and_nothing_else(capsys) -> None:
    command("list", "--json")
    (row,) = [row for row in json.loads(capsys.readouterr().out)["blocks"] if row["name"] == "FeedForward"]
    assert row["options"] == ["width", "hidden_width", "activation", "use_bias", "dropout"]


def test_list_says_of_a_seed_system_which_block_options_and_traps_it_is(capsys) -> None:
    command("list", "--json")
    (row,) = [row for row in json.loads(capsys.readouterr().out)["seeds"] if row["row"] == "S17"]
    assert (row["block"], row["options"]) == ("MultiHeadAttention", {"width": 8, "num_heads": 2})
    assert row["arguments"] == ["value", "key", "query", "mask"]
    command("list")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("S17 ")]
    assert "MultiHeadAttention(width=8, num_heads=2) (the mask, 1 meaning drop, is added" in line


@pytest.mark.parametrize(("target", "to"), [("x.keras", "keras"), ("x.safetensors.index.json", "torch")])
def test_only_what_can_be_read_again_is_written(target: str, to: str, tmp_path: Path) -> None:
    block = ar.FeedForward(width=2, hidden_width=3)
    metadata = {"block": "FeedForward", "fields": block.fields(), "map": "canonical"}
    ar.port.write(tmp_path / "w.npz", block.init(), metadata)
    with pytest.raises(ar.port.CheckpointError, match="are written as"):
        ar.port.convert(tmp_path / "w.npz", tmp_path / target, to=to)
    assert not (tmp_path / target).exists()


def test_bfloat16_travels_bit_for_bit(tmp_path: Path) -> None:
    """In a process where nobody has imported ml_dtypes, which gives NumPy the dtype."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = {
        name: torch.from_numpy(v).bfloat16() for name, v in ar.FeedForward(width=2, hidden_width=3).init().items()
    }
    save_file(weights, tmp_path / "w.safetensors")
    told = [
        "--from",
        "canonical",
        "--to",
        "torch",
        "--set",
        "block=FeedForward",
        "--set",
        "width=2",
        "--set",
        "hidden_width=3",
    ]
    port = [sys.executable, "-m", "attn_ref", "port", str(tmp_path / "w.safetensors"), str(tmp_path / "t.safetensors")]
    subprocess.run([*port, *told], check=True, capture_output=True)
    moved = load_file(tmp_path / "t.safetensors")
    assert torch.equal(moved["expand.weight"], weights["expand.kernel"].T)
    assert moved["expand.weight"].dtype == torch.bfloat16


def test_a_tap_takes_no_other_shape() -> None:
    block, x = ar.FeedForward(width=2, hidden_width=3), np.ones((1, 1, 2))
    for change in (ar.add, ar.replace):
        with (
            pytest.raises(ValueError, match=r"tap 'active' has shape \(1, 1, 3\); got \(1,\)"),
            change({"active": np.ones(1)}),
        ):
            block(block.init(), x)


def test_fresh_layers_and_tensors_that_want_gradients_are_taken() -> None:
    import torch

    block = ar.FeedForward(width=2, hidden_width=3)
    weights = block.init()
    from attn_ref_keras.blocks.feed_forward import FeedForward

    backend = ar.backend("tensorflow")
    layer = backend.load(FeedForward(**block.fields(), dtype="float64"), weights)
    np.testing.assert_array_equal(backend.dump(layer)["expand.kernel"], weights["expand.kernel"])
    tensors = {name: torch.from_numpy(v).requires_grad_() for name, v in weights.items()}
    mirror = ar.backend("torch").load(ar.backend("torch").build(block), tensors)
    np.testing.assert_array_equal(ar.backend("torch").dump(mirror)["expand.kernel"], weights["expand.kernel"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cases": "3"}, "cases should be a whole number, at least 1; got '3'"),
        ({"seed": -1}, "seed should be a whole number, at least 0; got -1"),
        (
            {"engines": "keras"},
            "unknown engine 'keras'; the mirrors of keras run on tensorflow or jax; the engines are torch,",
        ),
        ({"dtypes": "float8"}, "unknown dtype float8; the dtypes are float64, float32, bfloat16, float16"),
        ({"modes": "backward"}, "unknown mode backward; the modes are forward, gradient, training"),
        ({"executor": "dusk"}, "unknown executor 'dusk'"),
    ],
)
def test_requests_that_cannot_be_met(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError) as error:
        ar.check("FeedForward", **options)
    assert said in str(error.value)
    with pytest.raises(ValueError, match="a check takes names of blocks or their classes"):
        ar.check(np.ones(3))
