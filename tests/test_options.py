"""Every option of attention, with every other: the grid against the scalar loops, and every mirror against that."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any
from unittest import mock

import numpy as np
import oracles
import pytest
from test_oracles import assert_close, lists

import attn_ref as ar
from attn_ref.check.cases import Case
from attn_ref.check.compare import compare
from attn_ref.weights import uniform

B, T, S, D, E = 2, 3, 5, 3, 3

MASKS: dict[str, tuple[tuple[int, ...], str] | None] = {
    "no mask": None,
    "mask": ((B, 4, T, S), "mixed"),
    "hidden rows": ((T, S), "hidden"),
    "padding": ((B, 1, 1, S), "mixed"),
}
BIASES = {"no bias": None, "bias": (4, T, S)}
WINDOWS = {"no window": (None, None), "left": (1, None), "right": (None, 0), "both": (2, 1)}
GROUPS = (4, 2, 1)


def case(
    seed: int, groups: int, fields: dict[str, Any], more: dict[str, tuple[tuple[int, ...], str]], t: int = T
) -> Case:
    """A case of scaled dot-product attention with ``more`` optional inputs."""
    shapes = {"query": (B, 4, t, D), "key": (B, groups, S, D), "value": (B, groups, S, E)}
    styles = dict.fromkeys(shapes, "plain") | {name: style for name, (_, style) in more.items()}
    fields = ar.ScaledDotProductAttention(**fields).fields()
    return Case(
        "ScaledDotProductAttention", fields, shapes | {n: shape for n, (shape, _) in more.items()}, styles, seed
    )


def grid() -> list[Case]:
    """mask × bias × causal × window × grouped × softcap."""
    found = []
    options = itertools.product(
        MASKS.values(), BIASES.values(), (None, "top_left", "bottom_right"), WINDOWS.values(), GROUPS, (None, 1.5)
    )
    for seed, (mask, bias, causal, (left, right), groups, softcap) in enumerate(options):
        fields = {"causal": causal, "window_left": left, "window_right": right, "softcap": softcap}
        more = {"attention_mask": mask} if mask else {}
        found.append(case(seed, groups, fields, more | ({"bias": (bias, "plain")} if bias else {})))
    return found


def decoding() -> list[Case]:
    """sinks × query offsets × key lengths × causal × window × mask × more queries than keys."""
    found = []
    options = itertools.product(
        (False, True), (False, True), (False, True), (None, "top_left", "bottom_right"), ((None, None), (1, 0)),
        (False, True), (T, 7),
    )  # fmt: skip
    for seed, (sinks, offset, lengths, causal, (left, right), mask, t) in enumerate(options):
        more: dict[str, Any] = {}
        if sinks:
            more["sinks"] = ((4,), "plain")
        if offset:
            more["query_offset"] = ((B,), "plain")
        if lengths:
            more["key_lengths"] = ((B,), "plain")
        if mask:
            more["attention_mask"] = ((B, 1, 1, S), "mixed")
        fields = {"causal": causal, "window_left": left, "window_right": right}
        found.append(case(seed, 2, fields, more, t))
    return found


GRIDS = {"options": (grid, 4 * 2 * 3 * 4 * 3 * 2), "decoding": (decoding, 2 * 2 * 2 * 3 * 2 * 2 * 2)}
every_grid = pytest.mark.parametrize("name", GRIDS)


@every_grid
def test_the_reference_is_the_scalar_loops(name: str) -> None:
    cases, count = GRIDS[name][0](), GRIDS[name][1]
    assert len({case.to_json() for case in cases}) == count
    for case in cases:
        given = case.inputs()
        want = oracles.scaled_dot_product_attention({}, **{k: lists(v) for k, v in given.items()}, **case.fields)
        assert_close(case.build()({}, **given), want)


@every_grid
@pytest.mark.parametrize(
    ("engine", "every"), [("torch", 1), ("tensorflow", 5), pytest.param("tensorflow", 1, marks=pytest.mark.deep)]
)
def test_the_mirrors_agree_fused_and_step_by_step(name: str, engine: str, every: int) -> None:
    """Every fifth combination has each value of each option, since none has five."""
    backend, fused = ar.backend(engine), 0
    where = {
        "torch": "torch.nn.functional.scaled_dot_product_attention",
        "tensorflow": "keras.src.backend.tensorflow.nn.dot_product_attention",
    }[engine]
    for case in list(GRIDS[name][0]())[::every]:
        with mock.patch(where, wraps=resolved(where)) as call:
            outcome = compare(backend, case, "float64", again=False)
        assert outcome.first is None, f"{outcome.first}: {outcome.detail}\n{outcome.case}"
        assert call.called == can_fuse(engine, case), f"fused: {call.called}\n{outcome.case}"
        fused += call.called
    assert fused > 0


def can_fuse(engine: str, case: Case) -> bool:
    """What the framework's own call can express: neither a cap nor sinks; in Keras not both a mask and a bias."""
    if case.fields["softcap"] is not None or "sinks" in case.shapes:
        return False
    masked = "attention_mask" in case.shapes or "key_lengths" in case.shapes
    masked |= any(case.fields[name] is not None for name in ("causal", "window_left", "window_right"))
    return engine == "torch" or not (masked and "bias" in case.shapes)


@pytest.mark.slow
def test_on_jax_the_fused_call_is_for_accelerators() -> None:
    """On a CPU it is slower than step by step; told that this is a GPU the mirror takes it, and agrees."""
    code = """
from unittest import mock
import numpy as np
import attn_ref as ar
from attn_ref.weights import cast
backend, x = ar.backend("jax"), np.random.default_rng(0).normal(size=(2, 5, 8)).astype("f4")
import jax, keras
block = ar.MultiHeadAttention(width=8, num_heads=2, causal="top_left")
layer = backend.load(backend.build(block, "float32"), cast(block.init(), "float32"))
results = []
for device in ("cpu", "gpu"):
    plain = keras.src.backend.jax.nn.dot_product_attention
    with mock.patch.object(keras.src.backend.jax.nn, "dot_product_attention", wraps=plain) as call:
        with mock.patch.object(jax, "default_backend", lambda: device):
            results.append(backend.run(layer, {"query": x}, observe=False).output)
    print(call.called)
np.testing.assert_allclose(*results, atol=1e-5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


def resolved(name: str) -> Any:
    """The object that a dotted name stands for."""
    import pkgutil

    return pkgutil.resolve_name(name)


def test_positions_are_one_thing_for_masks_and_rotation() -> None:
    """A query that stands n further on sees, and is turned, as the n-th query of a longer sequence."""
    block = ar.MultiHeadAttention(width=8, num_heads=2, rotary="half", causal="top_left", window_left=2)
    w, x = block.init(3), uniform((2, 6, 8), 3)
    whole = block(w, x)
    late = block(w, x[:, 2:], x, query_offset=np.array([2, 2]))
    np.testing.assert_allclose(late, whole[:, 2:], atol=1e-14)
    aligned = ar.MultiHeadAttention(width=8, num_heads=2, rotary="half", causal="bottom_right", window_left=2)
    np.testing.assert_allclose(aligned(w, x[:, 2:], x), whole[:, 2:], atol=1e-14)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"softcap": 0.0}, "softcap should be a number above zero or None; got 0.0"),
        ({"softcap": True}, "softcap should be a number above zero or None; got True"),
        ({"window_left": -1}, "window_left should be an integer from zero up, or None; got -1"),
        ({"window_right": 1.5}, "window_right should be an integer from zero up, or None; got 1.5"),
    ],
)
def test_attention_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ar.ScaledDotProductAttention(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"qk_norm": "batch"}, "qk_norm should be one of None, 'layer', 'rms', 'rms_zero_centered'; got 'batch'"),
        ({"qk_norm_eps": 1e-3}, "qk_norm_eps needs qk_norm, which is None"),
        ({"rotary_base": 5.0, "rotary_width": 2}, "rotary_width, rotary_base needs rotary, which is None"),
        ({"rotary": "half", "num_heads": 8}, "width"),
        ({"rotation": ar.RotaryEmbedding(width=6)}, "rotation should have width = 4, that of a head; got Rot"),
        ({"rotation": ar.RotaryEmbedding(width=4), "rotary": "half"}, "rotation takes the place of rotary; give one"),
        ({"rotary": "full"}, "rotary should be one of None, 'half', 'interleaved'; got 'full'"),
    ],
)
def test_multi_head_attention_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ar.MultiHeadAttention(**{"width": 8, "num_heads": 2, **fields})


def test_lengths_and_offsets_stay_within_the_keys() -> None:
    x = np.ones((2, 1, 3, 2))
    with pytest.raises(ValueError, match=r"key_lengths holds 4 at \(1,\); indices run from 0 to 3 \(s = 3\)"):
        ar.ScaledDotProductAttention()({}, x, x, x, key_lengths=np.array([0, 4]))
    with pytest.raises(ValueError, match=r"query_offset holds -4 at \(0,\); indices run from -3 \(t = 3\) to 3 \(s"):
        ar.ScaledDotProductAttention()({}, x, x, x, query_offset=np.array([-4, 0]))


@pytest.mark.parametrize("engine", ["reference", "torch", "tensorflow"])
@pytest.mark.parametrize("fields", [{"causal": "bottom_right"}, {"causal": "bottom_right", "window_left": 2}], ids=str)
def test_decoding_with_a_cache_is_the_full_pass(engine: str, fields: dict[str, Any]) -> None:
    """Step by step, the keys and values joined by the framework's own function, the fused call taken."""
    block = ar.ScaledDotProductAttention(**fields)
    q, k, v = (uniform((2, heads, 6, 4), 5, name) for name, heads in (("q", 4), ("k", 2), ("v", 2)))
    whole = block({}, q, k, v)
    if engine == "reference":
        step, join, lift = (lambda *x: block({}, *x)), np.concatenate, np.asarray
    else:
        layer = ar.backend(engine).build(block)
        if engine == "torch":
            import torch

            step, join, lift = layer, torch.cat, torch.from_numpy
        else:
            import keras

            step, join, lift = layer, keras.ops.concatenate, keras.ops.convert_to_tensor
    cache = ar.KVCache(join)
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        now = slice(start, stop)
        keys, values = cache(lift(k[:, :, now]), lift(v[:, :, now]))
        assert len(cache) == stop
        np.testing.assert_allclose(np.asarray(step(lift(q[:, :, now]), keys, values)), whole[:, :, now], atol=1e-14)
