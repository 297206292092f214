"""bfloat16 and float16: rounding as the formats say, mirrors that agree, faults and overflow that are not hidden."""

from __future__ import annotations

import numpy as np
import pytest
from planting import few, planted

import attn_ref as ar
from attn_ref.check.adjoint import compare_gradients
from attn_ref.check.cases import Case, cases
from attn_ref.check.compare import compare
from attn_ref.check.tolerance import ROUNDING, Truth
from attn_ref.ops.primitive import Noise
from attn_ref.tap import is_masked
from attn_ref.weights import rounded, uniform

LOW = ("bfloat16", "float16")


def test_bfloat16_is_rounded_as_torch_rounds_it() -> None:
    import torch

    rng = np.random.default_rng(0)
    x = (rng.normal(size=20000) * 10.0 ** rng.integers(-30, 30, 20000)).astype(np.float32)
    ties = (rng.integers(0x3F80, 0x4080, 500).astype(np.uint32) << 16 | 0x8000).view(np.float32)
    x = np.concatenate([x, ties, -ties, [0.0, -0.0, 1.0]]).astype(np.float32)
    want = torch.from_numpy(x).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(rounded(x, "bfloat16"), want)
    np.testing.assert_array_equal(rounded(rounded(x, "bfloat16"), "bfloat16"), want)
    assert rounded(x.reshape(-1, 1).T, "bfloat16").shape == (1, len(x))
    assert rounded(np.float64(1.01), "bfloat16").shape == ()


@pytest.mark.parametrize("dtype", LOW)
def test_weights_travel_bit_for_bit(dtype: str) -> None:
    for engine in ("torch", "tensorflow"):
        backend, block = ar.backend(engine), ar.block("FeedForward")(width=3, hidden_width=5)
        weights = ar.weights.cast(block.init(1), dtype)
        layer = backend.load(backend.build(block, dtype), weights)
        assert {slot.dtype for slot in backend.slots(layer).values()} == {dtype}
        for name, value in backend.dump(layer).items():
            np.testing.assert_array_equal(value, weights[name])
        with pytest.raises(ValueError, match="float64, which"):
            backend.load(layer, block.init(1))


#: every block in one of them each day, in turn; the deep tests have all
KINDS = [(dtype, engine) for dtype in LOW for engine in ("torch", "tensorflow")]


@pytest.mark.parametrize(
    ("name", "dtype", "engine"),
    [
        pytest.param(name, *kind, marks=[pytest.mark.deep] if n % len(KINDS) != m else [])
        for n, name in enumerate(sorted(ar.blocks()))
        for m, kind in enumerate(KINDS)
    ],
)
def test_mirrors_agree(name: str, dtype: str, engine: str) -> None:
    backend = ar.backend(engine)
    for case in cases(ar.block(name), few(name, 2), seed=21):
        for outcome in (
            compare(backend, case.within(dtype), dtype),
            compare_gradients(backend, case.within(dtype), dtype, training=case.seed % 2 == 1),
        ):
            assert outcome.first is None, f"{outcome.first}: {outcome.detail}\n{outcome.case}"


def test_a_gradient_of_rank_0_comes_back() -> None:
    """TensorFlow's scalars of bfloat16 refuse NumPy."""
    shapes = {"query": (1, 1, 2, 2), "key": (1, 1, 3, 2), "value": (1, 1, 3, 2), "bias": ()}
    case = Case("ScaledDotProductAttention", {}, shapes, dict.fromkeys(shapes, "plain"), 1)
    assert compare_gradients(ar.backend("tensorflow"), case, "bfloat16").first is None


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_fault_is_still_caught(dtype: str, engine: str) -> None:
    package, old, new = {
        "torch": ("attn_ref_torch", "self.key(key)", "nn.functional.linear(key, self.key.weight)"),
        "tensorflow": ("attn_ref_keras", "self.key(key)", "ops.matmul(key, self.key.kernel)"),
    }[engine]
    with planted(f"{package}.blocks.multi_head_attention", old, new):
        drawn = cases(ar.block("MultiHeadAttention"), 12)
        found = {compare(ar.backend(engine), case.within(dtype), dtype).first for case in drawn}
    assert found - {None} == {"key"}


def test_softmax_that_is_masked_by_a_large_number_overflows_float16_and_is_reported() -> None:
    """−1e9 is −inf in float16: a softmax of a row of it alone is NaN, where the definition says zeros."""
    old = "self.softmax(scores, keep is not None, sinks)"
    hidden = "scores.nan_to_num(neginf=0.0) + (~keep).to(scores.dtype) * -1e9"
    new = f"self.softmax(scores if keep is None else {hidden}, False, sinks)"
    with planted("attn_ref_torch.blocks.scaled_dot_product_attention", old, new):
        drawn = cases(ar.block("ScaledDotProductAttention"), 30)
        found = {compare(ar.backend("torch"), case.within("float16"), "float16").tap for case in drawn}
    assert {tap.split(" (")[0] for tap in found if tap} == {"weights"}


def test_what_overflows_float16_by_right_is_not_drawn_for_it() -> None:
    shapes = {"query": (1, 1, 2, 2), "key": (1, 1, 3, 2), "value": (1, 1, 3, 2)}
    styles = {"query": "huge", "key": "shifted", "value": "large"}
    case = Case("ScaledDotProductAttention", {}, shapes, styles, 1)
    assert case.within("float16").styles == {"query": "large", "key": "plain", "value": "large"}
    assert case.within("bfloat16") == case.within("float32") == case
    for block in ar.blocks().values():
        for case in cases(block, 40):
            with ar.record() as taps:
                case.build()(case.weights("float16"), **case.within("float16").inputs())
            seen = (value for name, (value, _) in taps.items() if not is_masked(name))  # −∞ is right there
            assert max(np.abs(value).max(initial=0) for value in seen) < 65504


def test_a_layer_without_parameters_runs_in_the_dtype_it_was_built_for() -> None:
    backend, block = ar.backend("torch"), ar.ScaledDotProductAttention()
    inputs = {name: rounded(uniform((1, 1, 2, 2), name), "bfloat16") for name in ("query", "key", "value")}
    assert backend.run(backend.build(block, "bfloat16"), inputs).dtype == "bfloat16"


def test_noise_moves_both_ways_in_every_dtype_and_leaves_zeros_and_slopes() -> None:
    x = np.concatenate([uniform((400,), 1), np.zeros(4)])
    for unit, tiny in ROUNDING.values():
        change = (Noise(unit, 1, tiny=tiny).move(x) - x)[:400]
        assert 150 < (change > 0).sum() < 250
        assert 150 < (change < 0).sum() < 250
        assert not (Noise(unit, 1, tiny=tiny).move(x) - x)[400:].any()
        slope = Noise(unit, 1, tiny=tiny).move(x + 1e-30j).imag
        assert np.abs(slope - 1e-30).max() <= 2e-30 * unit
    moved = Noise(0.0, 1, tiny=0.5).move(x)
    np.testing.assert_array_equal(np.abs(moved - x)[:400], np.where(moved[:400] == 0, np.abs(x[:400]), 0.5))
    small = np.abs(x) < 0.5
    assert 50 < (moved[small] == 0).sum() < 200, "half of what is smaller than that"
    assert (np.sign(moved[~small]) == np.sign(x[~small])).all()
    assert (moved * x >= 0).all(), "no rounding turns a sign"


def test_a_variance_of_roundings_alone_has_a_root() -> None:
    """A layer norm of one value: its variance is 0, moved by float16's roundings 1e-8 and then below 0: NaN agreed."""
    block = ar.LayerNorm(width=1, eps=1e-12)
    right = Truth(block, block.init(), {"x": rounded(8 * uniform((2, 7, 1), 1, "x"), "float16")}, "float16")
    assert all(np.isfinite(unit).all() for unit in right.unit.values())


def test_noise_that_gives_no_number_is_no_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is compared with a σ that is NaN agrees."""
    block = ar.LayerNorm(width=3)
    right = Truth(block, block.init(), {"x": uniform((2, 3), 1, "x")[None]}, "float32", runs=0)
    monkeypatch.setattr(Noise, "_move", lambda self, x, tangent=None: x * (np.nan if x.shape[-1] == 1 else 1))
    with pytest.raises(FloatingPointError, match="LayerNorm, moved by roundings, is not finite at tap 'normed'"):
        right.learn(1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_sum_of_equal_terms_is_granted_roundings_that_do_not_cancel(dtype: str) -> None:
    """An encoder-decoder of 2,051 tokens of 5 kinds was 14 σ off on torch, which adds as many products one by one."""
    unit, found = ROUNDING[dtype][0], []
    for count in (512, 2051, 16384):
        x = {
            "query": np.zeros((1, 1, 1, 2)),
            "key": np.zeros((1, 1, count, 2)),
            "value": np.full((1, 1, count, 1), 1.1),
        }
        x = {name: value.astype(dtype) for name, value in x.items()}
        right = Truth(ar.ScaledDotProductAttention(), {}, x, dtype)
        one_by_one = np.cumsum(x["value"].ravel() / count, dtype=dtype)[-1]
        error = abs(float(one_by_one) - float(x["value"].flat[0]))  # the mean of equal numbers
        found.append(error / (unit * 1.1))
        assert error <= 16 * right.unit["output"].item()
    assert found[-1] > 160, "the sum of some roundings would not do"


def test_a_long_sum_is_kept_in_float32_where_values_are_not() -> None:
    count = 4096
    shapes = {"query": (1, 1, 1, 2), "key": (1, 1, count, 2), "value": (1, 1, count, 1)}
    right = Truth(ar.ScaledDotProductAttention(), {}, {n: np.ones(shape) for n, shape in shapes.items()}, "bfloat16")
    assert right.unit["output"].item() < 8 * 2.0**-8


def test_what_underflow_costs_is_granted_where_something_large_multiplies_it() -> None:
    """A weight of 3e-40 may be 0 in float32, and is multiplied by 100."""
    shapes = {"query": (1, 1, 1, 1), "key": (1, 1, 2, 1), "value": (1, 1, 2, 1)}
    block = ar.ScaledDotProductAttention(scale=None)
    x = {"query": np.ones(shapes["query"]), "key": np.array([0.0, -91.0]).reshape(shapes["key"])}
    x["value"] = np.array([0.0, 100.0]).reshape(shapes["value"])
    right = Truth(block, {}, x, "float32")
    assert 0 < right.taps["output"].value.max() < 2.0**-126 * 100
    assert right.unit["output"].max() > 2.0**-126 * 50
