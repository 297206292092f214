"""Faults of a port that people make, planted one by one: each is caught before a file appears, and its place is named.

Those of weights are planted in what is written; the map and the plan stay right, so shapes and names tell nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from language_families import in_this_process, save
from timm_layers import timm_layer

import attn_ref as ar
from attn_ref.port.checkpoint import Checkpoint
from attn_ref.port.plan import Plan

Arrays = dict[str, np.ndarray]


def turned(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    """One tensor otherwise."""
    return lambda held: {**held, name: np.ascontiguousarray(change(held[name])).reshape(held[name].shape)}


def swapped(one: str, other: str) -> Callable[[Arrays], Arrays]:
    """Two tensors under each other's names."""
    return lambda held: {**held, one: held[other], other: held[one]}


def both(*edits: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """One after the other."""

    def edit(held: Arrays) -> Arrays:
        for one in edits:
            held = one(held)
        return held

    return edit


def interleaved(heads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Rows in which the heads take turns, and do not follow one another."""
    return lambda w: w.reshape(heads, -1, *w.shape[1:]).swapaxes(0, 1)


def in_pairs(heads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Rows as rotary positions have them that pair neighbours, where halves are paired."""
    return lambda w: w.reshape(heads, 2, -1, *w.shape[1:]).swapaxes(1, 2)


LLAMA = "layers.{}.attention.{}.weight"
Q, K = (LLAMA.format(0, name) for name in ("query", "key"))
#: fault -> (family, what becomes of the tensors that are written, the tap that differs first)
WEIGHTS: dict[str, tuple[str, Callable[[Arrays], Arrays], str]] = {
    "a square query transposed": ("llama", turned(Q, np.transpose), "layers.0.attention.query"),
    "query and key swapped": (
        "gpt2", swapped(*(f"layers.1.attention.{name}.weight" for name in ("query", "key"))),
        "layers.1.attention.query",
    ),
    "heads interleaved": ("llama", turned(LLAMA.format(1, "query"), interleaved(4)), "layers.1.attention.query"),
    "heads of the values interleaved": (
        "llama", turned(LLAMA.format(1, "value"), interleaved(2)), "layers.1.attention.value",
    ),
    "rotary pairing not permuted": (
        "llama", both(turned(Q, in_pairs(4)), turned(K, in_pairs(2))), "layers.0.attention.query",
    ),
    "the head has the rows of another order": ("llama", turned("head.weight", lambda w: w[::-1]), "logits"),
}  # fmt: skip


def planted(edit: Callable[[Arrays], Arrays]) -> Any:
    """While it lasts, what is written has the fault."""
    real = Plan.tensors
    return mock.patch.object(Plan, "tensors", lambda plan, source: Checkpoint.of(edit(dict(real(plan, source)))))


def proof_of(report: Any) -> tuple[str | None, str | None]:
    """The first tap that differs at the source, and at the target."""
    here, there = report.proof.ends
    assert (here.failure, there.failure) == (None, None)
    return here.first, there.first


@pytest.mark.parametrize("fault", WEIGHTS)
def test_a_fault_of_the_weights_is_caught_at_its_tap(fault: str, tmp_path: Path) -> None:
    family, edit, tap = WEIGHTS[fault]
    source = save(tmp_path / "source", family)
    with in_this_process(), planted(edit):
        report = ar.port.convert(source, tmp_path / "there.safetensors", to="torch", verify=True)
    assert not report.ok
    assert proof_of(report) == (None, tap)
    assert not (tmp_path / "there.safetensors").exists()


@pytest.mark.parametrize(
    ("field", "tap"),
    [("layer.norm.eps", "layers.0.attention_norm.scaled"), ("final_norm.eps", "final_norm.scaled")],
)
def test_one_eps_that_is_read_wrongly_is_caught_at_its_norm(field: str, tap: str, tmp_path: Path) -> None:
    """The source is run by its own config, and the block is what the map made of it."""
    module = sys.modules["attn_ref.port.convert"]  # whose name in the package is that of its function
    source, real = save(tmp_path / "source", "llama"), module.make_plan

    def wrong(*args: Any, **kwargs: Any) -> Plan:
        plan = real(*args, **kwargs)
        return replace(plan, block=plan.block.build({**plan.block.fields(), field: 3e-5}))

    with in_this_process(), mock.patch.object(module, "make_plan", wrong):
        report = ar.port.convert(source, tmp_path / "there.safetensors", to="torch", verify=True)
    assert not report.ok
    assert proof_of(report) == (tap, None)


def test_mean_and_variance_of_a_batch_norm_swapped_are_caught_at_the_norm(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    layer = timm_layer("cbam").CbamModule(16)
    with torch.no_grad():
        for name, value in layer.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape) + (0.5 if "running" in name else -0.5))
    save_file(layer.state_dict(), tmp_path / "a.safetensors")
    norm = "spatial_attention.norm.running"
    edit = swapped(f"{norm}_mean", f"{norm}_var")
    with in_this_process(), planted(edit):
        report = ar.port.convert(
            tmp_path / "a.safetensors", tmp_path / "b.safetensors", from_="timm.CbamModule", to="torch", verify=True
        )
    assert not report.ok
    here, there = proof_of(report)
    assert here is None
    assert there is not None
    assert there.startswith("spatial_attention.")


def test_the_last_shard_missing_is_refused_by_name(tmp_path: Path) -> None:
    source, out = save(tmp_path / "source", "llama"), tmp_path / "there.safetensors"
    index = source / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    last = max(told["weight_map"].values())
    (source / last).rename(tmp_path / last)
    with pytest.raises(ar.port.CheckpointError, match=f"lists {last}, which is not beside it"):
        ar.port.convert(source, out, to="torch", verify=True)
    lost = sorted(key for key, name in told["weight_map"].items() if name == last)
    left = {key: name for key, name in told["weight_map"].items() if name != last}
    index.write_text(json.dumps({**told, "weight_map": left}))  # as whoever cleans up after himself leaves it
    with pytest.raises(ar.port.CheckpointError) as caught:
        ar.port.convert(source, out, to="torch", verify=True)
    assert any(f"missing: {key} " in str(caught.value) for key in lost), caught.value
    assert not out.exists()


def test_a_tied_head_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    source, out = save(tmp_path / "source", "llama, linear", max_shard_size="1GB"), tmp_path / "there.safetensors"
    state = load_file(source / "model.safetensors")
    table = state["model.embed_tokens.weight"]
    for head in (table + 1, table[::-1].copy()):
        save_file({**state, "lm_head.weight": head}, source / "model.safetensors", {"format": "pt"})
        with pytest.raises(ar.port.CheckpointError, match=r"unexpected: lm_head\.weight"):
            ar.port.convert(source, out, to="torch", verify=True)
    assert not out.exists()
