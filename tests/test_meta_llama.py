"""Meta's own Llama: neighbours turn together there, and halves in Hugging Face's files, so rows of q and k move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_families import in_this_process

import attn_ref as ar
from attn_ref.foreign.rules import LAYOUTS

PARAMS = {
    "dim": 24,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": -1,
    "multiple_of": 20,
    "norm_eps": 1e-5,
}


def save(folder: Path, ending: str = "pth", **told: Any) -> Path:
    """A small one of random numbers, as Meta saves it."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    params = {**PARAMS, **told}
    width, head = params["dim"], params["dim"] // params["n_heads"]
    inner = 80  # 64 = 2 · 4 · 24 / 3, up to a multiple of 20
    shapes = {"tok_embeddings": (41, width), "norm": (width,), "output": (41, width)}
    for i in range(2):
        own = {
            "attention.wq": (width, width), "attention.wk": (2 * head, width), "attention.wv": (2 * head, width),
            "attention.wo": (width, width), "feed_forward.w1": (inner, width), "feed_forward.w3": (inner, width),
            "feed_forward.w2": (width, inner), "attention_norm": (width,), "ffn_norm": (width,),
        }  # fmt: skip
        shapes |= {f"layers.{i}.{name}": shape for name, shape in own.items()}
    state = {f"{name}.weight": torch.randn(shape) * 0.4 for name, shape in shapes.items()}
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(params))
    if ending == "pth":
        torch.save({**state, "rope.freqs": torch.ones(3)}, folder / "consolidated.00.pth")
    else:
        ar.port.write(folder / "model.safetensors", {name: value.numpy() for name, value in state.items()})
    return folder


def theirs(held: dict[str, np.ndarray], ids: np.ndarray, heads: int, groups: int, base: float) -> np.ndarray:
    """The logits, as ``llama/model.py`` computes them: pairs of neighbours are complex numbers that are turned."""

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        scaled: np.ndarray = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * held[f"{name}.weight"]
        return scaled

    def turned(x: np.ndarray) -> np.ndarray:  # (t, heads, d)
        d = x.shape[-1]
        freqs = 1 / base ** (np.arange(0, d, 2) / d)
        turn = np.exp(1j * np.outer(np.arange(len(x)), freqs))[:, None]
        pairs = (x[..., ::2] + 1j * x[..., 1::2]) * turn
        return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)

    w = {name: value.astype(np.float64) for name, value in held.items()}
    held = w
    x = w["tok_embeddings.weight"][ids]
    for i in range(2):
        at, h = f"layers.{i}", normed(x, f"layers.{i}.attention_norm")
        q, k, v = (
            (h @ w[f"{at}.attention.w{name}.weight"].T).reshape(len(ids), n, -1)
            for name, n in (("q", heads), ("k", groups), ("v", groups))
        )
        q, k = turned(q), turned(k)
        k, v = (np.repeat(part, heads // groups, axis=1) for part in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(q.shape[-1])
        scores = np.where(np.tril(np.ones((len(ids),) * 2, bool)), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hts,shd->thd", weights / weights.sum(-1, keepdims=True), v).reshape(len(ids), -1)
        x = x + mixed @ w[f"{at}.attention.wo.weight"].T
        h = normed(x, f"{at}.ffn_norm")
        gate = h @ w[f"{at}.feed_forward.w1.weight"].T
        x = (
            x
            + (gate / (1 + np.exp(-gate)) * (h @ w[f"{at}.feed_forward.w3.weight"].T))
            @ w[f"{at}.feed_forward.w2.weight"].T
        )
    logits: np.ndarray = normed(x, "norm") @ w["output.weight"].T
    return logits


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_it_computes_what_metas_program_computes(ending: str, tmp_path: Path) -> None:
    source = save(tmp_path / "in", ending, rope_theta=100.0)
    with ar.port.read(source) as file:
        held = {name: value for name, value in file.items() if name != "rope.freqs"}
    block, w = ar.port.load(source)
    ids = np.array([3, 1, 4, 1, 5, 9, 2])
    got = block({name: value.astype(np.float64) for name, value in w.items()}, token_ids=ids[None])[0]
    np.testing.assert_allclose(got, theirs(held, ids, 4, 2, 100.0), rtol=0, atol=1e-11)


def test_it_goes_to_hugging_face_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    source, there = save(tmp_path / "in", "safetensors"), tmp_path / "hf.safetensors"
    with in_this_process():
        report = ar.port.convert(source, there, to="hf.Llama", verify=True)
    assert report.ok, report.to_json()["proof"]
    with ar.port.read(source) as file, ar.port.read(there) as other:
        before = {name: value.tobytes() for name, value in file.items()}
        one, two = file["layers.0.attention.wq.weight"], other["model.layers.0.self_attn.q_proj.weight"]
        assert one.tobytes() != two.tobytes()
        # the formula of transformers' converter
        assert np.array_equal(one.reshape(4, 3, 2, 24).transpose(0, 2, 1, 3).reshape(24, 24), two)
    ar.port.convert(there, tmp_path / "back.safetensors", to="meta.Llama")
    ar.port.convert(source, tmp_path / "w.weights.h5", to="keras")
    ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "again.safetensors", to="meta.Llama")
    for name in ("back.safetensors", "again.safetensors"):
        with ar.port.read(tmp_path / name) as back:
            assert {key: value.tobytes() for key, value in back.items()} == before


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_the_rule_undoes_itself(heads: int, half: int, width: int) -> None:
    rows = heads * half * 2
    w, bias = np.arange(rows * width).reshape(rows, width), np.arange(rows)
    for layout, x in ((f"pairs {heads}", w), (f"pairs flat {heads}", bias)):
        inward = LAYOUTS[layout].inward(x)
        assert np.array_equal(LAYOUTS[layout].outward(inward), x)
    for h in range(heads):  # neighbours come to lie half a head apart
        for j in range(half):
            at = h * 2 * half
            assert bias[at + 2 * j] == LAYOUTS[f"pairs flat {heads}"].inward(bias)[at + j]
            assert bias[at + 2 * j + 1] == LAYOUTS[f"pairs flat {heads}"].inward(bias)[at + half + j]


def test_what_params_cannot_say_is_refused(tmp_path: Path) -> None:
    item = ar.port.maps()["meta.Llama"]
    block = ar.LanguageModel(**ar.LanguageModel.example)
    assert item.inexpressible(block) == []
    for field, value in {"layer.attention.rotary_scaling": 2.0, "layer.feed_forward.activation": "gelu"}.items():
        (line,) = item.inexpressible(ar.LanguageModel.build({**block.fields(), field: value}))
        assert field in line
