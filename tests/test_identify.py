"""Layers that nobody describes: the block and the options that they are, or the nearest and where they part."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import attn_ref as ar

torch = pytest.importorskip("torch")
from wild import torch_attention, torch_layers, torch_masks, torch_more  # noqa: E402

from attn_ref.verbs.fitting import fit  # noqa: E402

#: layers, what each is, and options that cannot be told apart on it; those that take long are deep
KNOWN: list[tuple[str, Any]] = [
    ("Packed", ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left")),
    ("Mlp", ar.FeedForward(width=12, hidden_width=20, activation="gelu")),
    ("SwiGlu", ar.GatedFeedForward(width=12, hidden_width=20)),
    ("Norm", ar.LayerNorm(width=12)),
]
DEEP: list[tuple[str, Any]] = [
    ("Separate", ar.MultiHeadAttention(width=12, num_heads=3)),
    ("PerHead", ar.MultiHeadAttention(width=12, num_heads=3, use_bias=False)),
    ("Fused", ar.MultiHeadAttention(width=12, num_heads=3)),
    ("Excite", ar.SqueezeExcitation(channels=12, reduction=4)),
    ("Cross", ar.MultiHeadAttention(width=12, num_heads=3, key_width=10, use_bias=False)),
    ("NonLocal", ar.NonLocal(channels=12)),
    ("Patches", ar.PatchEmbedding(patch=4, channels=3, width=8)),
]


def layer_of(name: str, fault: str = "") -> Any:
    torch.manual_seed(0)
    made: Any = getattr(torch_layers, name, None) or getattr(torch_more, name)
    return made(fault)


@pytest.mark.parametrize(
    ("name", "block"),
    [*KNOWN, *(pytest.param(*one, marks=pytest.mark.deep) for one in DEEP)],
    ids=lambda x: str(x)[:20],
)
def test_a_layer_is_identified(name: str, block: Any) -> None:
    found = ar.identify(layer_of(name), cases=3)
    assert found.ok, str(found)
    assert found.block == block, str(found)
    assert f"is {block}" in str(found)
    if name == "Packed":  # of as many keys as queries, both corners are one
        assert any("causal = 'top_left' or 'bottom_right'" in tie for tie in found.ties), found.ties


def test_a_layer_that_must_be_given_a_mask_is_identified() -> None:
    layer = next(w for w in torch_masks.WILD if w.name == "FairseqAttention")
    found = ar.identify(layer.build(), cases=2)
    assert found.ok, str(found)
    assert found.block == layer.block, str(found)


def test_heads_are_told_by_the_sizes_of_values() -> None:
    layer = next(w for w in torch_attention.WILD if w.name == "VitAttention")
    found = ar.identify(layer.build(), cases=2)
    assert found.ok, str(found)
    assert found.block == layer.block, str(found)


@pytest.mark.parametrize(
    ("wanted", "held", "least"),
    [
        ([(12, 20), (20,), (20, 12), (12,)], [(20, 12), (20,), (12, 20), (12,)], 1.0),
        ([(12, 12), (12,), (12, 12), (12,), (12, 12), (12,)], [(36, 12), (36,)], 1.0),
        ([(12, 12)], [(12, 4), (12, 4), (12, 4)], 0.95),
        ([(27, 8)], [(8, 3, 3, 3)], 0.9),
    ],
    ids=["turned", "packed", "by heads", "reshaped"],
)
def test_parameters_fit_the_arrays_of_a_layer(wanted: Any, held: Any, least: float) -> None:
    assert fit(wanted, held) == pytest.approx(least)


def test_parameters_of_another_block_do_not_fit() -> None:
    assert fit([(12, 15), (15, 12)], [(45, 12), (12, 15), (12,)]) < 0.7


@pytest.mark.deep
def test_the_nearest_is_told_with_where_it_parts() -> None:
    found = ar.identify(layer_of("Packed", "softmax over queries"), cases=1)
    assert not found.ok
    assert found.block == ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left"), str(found)
    assert found.traps == ["softmax-over-queries"]
    assert "is nearest to" in str(found)


def test_the_command_says_and_writes_what_it_is(tmp_path: Any) -> None:
    file = tmp_path / "what.json"
    command = [sys.executable, "-m", "attn_ref", "identify", f"{torch_layers.__file__}:Mlp", "--cases", "1"]
    done = subprocess.run([*command, "--json", str(file)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "is FeedForward(width=12, hidden_width=20, activation='gelu')" in done.stdout
    told = json.loads(file.read_text())
    assert told["block"] == "FeedForward"
    assert told["fields"]["activation"] == "gelu"


def test_what_no_block_takes_is_refused() -> None:
    class Odd(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            raise RuntimeError("no")

    with pytest.raises(ValueError, match="could not be called as any of the blocks is"):
        ar.identify(Odd())
