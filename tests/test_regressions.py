"""Cases that once showed a fault, of a mirror, of an engine, or of the tolerance: what they showed stays as it is."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import attn_ref as ar
from attn_ref import ops
from attn_ref.check.adjoint import BackwardTaps, compare_gradients
from attn_ref.check.cases import Case, cases
from attn_ref.check.compare import compare
from attn_ref.check.gaps import BACKWARD, DELTA, FLASH, OFFSET, gaps_for
from attn_ref.check.judge import Outcome, judge
from attn_ref.check.tolerance import LIMIT, RUNS, Truth
from attn_ref.ops.activation import gelu_gate
from attn_ref.ops.primitive import Noise, noisy
from attn_ref.tap import Tapped
from attn_ref.weights import uniform

ENGINES = ("torch", "tensorflow")


def case(block: str, fields: dict[str, Any], shapes: dict[str, list[int]], styles: dict[str, str], seed: int) -> Case:
    return Case.from_json(
        json.dumps({"block": block, "fields": fields, "shapes": shapes, "styles": styles, "seed": seed})
    )


def agrees(outcome: Outcome) -> None:
    assert outcome.first is None, f"{outcome.first}: {outcome.detail}"


#: a post-norm layer, and one without norms, of inputs far from 0
SHIFTED = [
    case("EncoderLayer", {"width": 8, "num_heads": 1, "hidden_width": 16, "norm_first": False, "eps": 0.001},
         {"x": [2, 5, 8], "attention_mask": [2, 1, 5, 5]}, {"x": "shifted", "attention_mask": "mixed"}, 44),
    case("EncoderLayer", {"width": 8, "num_heads": 1, "hidden_width": 5, "activation": "gelu", "norm_first": None},
         {"x": [1, 7, 8]}, {"x": "shifted"}, 81),
]  # fmt: skip


@pytest.mark.parametrize("given", SHIFTED, ids=["post-norm", "no norms"])
def test_the_flash_gap_is_there_and_grants_the_fused_backward_pass_alone(given: Case) -> None:
    backend, granted = ar.backend("torch"), gaps_for("torch", "float64")
    without = compare_gradients(backend, given, "float64")
    assert without.first is not None
    assert "in the fused path only" in without.first
    agrees(compare_gradients(backend, given, "float64", granted))
    assert {gap.where for gap in granted} == {BACKWARD}


#: e, the share of the larger of two scores that are 1 apart
E = float(np.e)


class Still(Noise):
    """Noise that moves nothing by itself."""

    def move(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("op", "granted"),
    [(FLASH, 0.25 * 2.0**-24 * np.log(np.exp(100.0) + np.exp(99.0))), (DELTA, 7.0 * 2.0**-8 * (3 * E + 5) / (E + 1))],
)
def test_what_a_flash_gap_grants(op: str, granted: float) -> None:
    """For the tangents of a row a factor of 1 ± u·|log Σ exp|, with float32's u; or ± u·output · their mean."""
    listener = BackwardTaps(Still(2.0**-8, 0, {op: 0.0}))
    scores, moves = np.array([[[[100.0, 99.0]]]]), np.array([[[[3.0, 5.0]]]])
    weights = np.exp(scores) / np.exp(scores).sum()
    tangent = weights * (moves - (weights * moves).sum())
    result, slope = np.array([[[[7.0]]]]), np.array([[[[0.25]]]])
    listener("scores", scores + 1j * moves, "b h t s")
    listener("weights", weights + 1j * tangent, "b h t s")
    moved = listener("context", result + 1j * slope, "b h t e")
    assert moved.real == result
    np.testing.assert_allclose(np.abs(moved.imag - 0.25), granted, rtol=1e-6)
    assert listener.noise.used == {op}


def test_what_a_norm_of_lower_precision_grants() -> None:
    """The tangents that pass its offset are moved by its unit, each by itself, and nothing else is."""
    listener = BackwardTaps(Still(2.0**-53, 0, {OFFSET: 2.0**-24}))
    value, slope = np.array([[[7.0, -3.0]]]), np.array([[[0.25, 2.0]]])
    moved = listener("shifted", value + 1j * slope, "b t c")
    assert (moved.real == value).all()
    np.testing.assert_allclose(np.abs(moved.imag - slope), 2.0**-24 * slope, rtol=1e-6)
    assert listener.noise.used == {OFFSET}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_flash_gap_moves_no_values(engine: str) -> None:
    """In bfloat16 it once did, and a batch norm below made the unit of a gradient forty times too small."""
    fields = {"channels": 1, "dimensions": 1, "scale": -0.5, "sub_sample": True, "batch_norm": True, "eps": 0.001}
    given = case("NonLocal", fields, {"x": [3, 2, 1]}, {"x": "huge"}, 6)
    agrees(compare_gradients(ar.backend(engine), given, "bfloat16", gaps_for(engine, "bfloat16"), training=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_spread_that_the_dtype_loses_is_a_kink(engine: str) -> None:
    """Three values of one channel differ by half a percent, and are one number in bfloat16: the gradient is another."""
    fields = {
        "channels": 16,
        "dimensions": 2,
        "pairing": "dot",
        "batch_norm": True,
        "momentum": 0.01,
        "use_bias": False,
    }
    given = case("NonLocal", fields, {"x": [3, 1, 1, 16]}, {"x": "shifted"}, 58)
    backend = ar.backend(engine)
    low = compare_gradients(backend, given, "bfloat16", gaps_for(engine, "bfloat16"), training=True)
    agrees(low)
    assert low.kink
    high = compare_gradients(backend, given, "float64", gaps_for(engine, "float64"), training=True)
    agrees(high)
    assert not high.kink


@pytest.mark.parametrize("engine", ENGINES)
def test_a_saturated_tanh_is_differentiated_from_its_rounded_value(engine: str) -> None:
    given = case(
        "ScaledDotProductAttention", {"softcap": 1.5, "causal": "bottom_right", "window_left": 4},
        {"query": [3, 5, 1, 2], "key": [3, 5, 3, 2], "value": [3, 5, 3, 2], "attention_mask": [3], "sinks": [5],
         "key_lengths": [3]},
        {"query": "plain", "key": "huge", "value": "plain", "attention_mask": "mixed", "sinks": "large",
         "key_lengths": "plain"}, 109,
    )  # fmt: skip
    agrees(compare_gradients(ar.backend(engine), given, "float64", gaps_for(engine, "float64")))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [-0.5, 0.0])
def test_causal_attention_with_a_scale_that_is_not_positive(engine: str, scale: float) -> None:
    """torch's fused call gives NaN there (torch-causal-negative-scale), of contiguous arrays: the seed is even."""
    shapes = {"query": [2, 1, 3, 4], "key": [2, 1, 3, 4], "value": [2, 1, 3, 4]}
    given = case(
        "ScaledDotProductAttention", {"scale": scale, "causal": "top_left"}, shapes, dict.fromkeys(shapes, "plain"), 2
    )
    agrees(compare(ar.backend(engine), given, "float64"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_share_of_1_leaves_nothing_of_the_running_statistics(engine: str) -> None:
    """Written as old + 1 · (new − old) the old one cancels, and leaves its rounding."""
    block = ar.NonLocal(channels=2, dimensions=1, batch_norm=True, momentum=1.0)
    weights, x = block.init(3), uniform((2, 5, 2), 3, "x")
    weights |= {"norm.mean": np.full(2, 1e16), "norm.variance": np.full(2, 1e16)}
    backend = ar.backend(engine)
    run = backend.run(backend.load(backend.build(block), weights), {"x": x}, training=True)
    with ar.training(), ar.record() as taps:
        block(weights, x)
    normed = np.asarray(run.taps["projected"].value, np.float64)
    values = np.moveaxis(normed, 1, -1) if engine == "torch" else normed
    for name, want in (("mean", values.mean((0, 1))), ("variance", values.var((0, 1), ddof=1))):
        for found in (run.taps, taps):
            np.testing.assert_allclose(found[f"norm.running_{name}"].value, want, rtol=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_strided_convolution_to_one_column(engine: str, dtype: str) -> None:
    """oneDNN's kernel for AMX gives no result there in bfloat16 (torch-bfloat16-strided-convolution)."""
    given = case(
        "PatchEmbedding", {"patch": 4, "channels": 3, "width": 5}, {"image": [3, 24, 4, 3]}, {"image": "plain"}, 1
    )
    agrees(compare(ar.backend(engine), given, dtype))
    agrees(compare_gradients(ar.backend(engine), given, dtype))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_no_maps_give_no_maps(engine: str, dtype: str, dimensions: int) -> None:
    """TensorFlow's convolution of none has the shape of its input (tf-conv-empty)."""
    given = case("NonLocal", {"channels": 6, "inner_width": 3, "dimensions": dimensions},
                 {"x": [0, *[2, 3, 4][:dimensions], 6]}, {"x": "plain"}, 1)  # fmt: skip
    agrees(compare(ar.backend(engine), given, dtype))


def test_below_a_gap_what_the_reference_restarts_from_is_moved_too() -> None:
    """A score of 1e-9 out of products of 1: rounding is that of the products. It came to 13.9 units on JAX."""
    block = ar.MultiHeadAttention(width=2, num_heads=1, use_bias=False)
    weights = {name: np.eye(2)[: len(param.shape)].squeeze() for name, param in block.params().items()}
    weights |= {"key.kernel": np.diag([1.0, -1.0 + 1e-9])}
    inputs = {"query": np.ones((1, 1, 2))}
    with ar.record() as taps:
        block(weights, **inputs)
    assert abs(taps["attention.scores"].value.item()) < 1e-9
    unit = Truth(block, weights, inputs, "float64", restart=taps).unit["attention.scores"].item()
    assert 0.1 < unit / 2.0**-53 < 10


def test_a_long_mean_is_rounded_once_a_term() -> None:
    """288 numbers of one channel, added one by one by torch's batch norm: 9.1 units, where a mean was one rounding."""
    fields = {
        "channels": 1,
        "dimensions": 3,
        "inner_width": 3,
        "sub_sample": True,
        "batch_norm": True,
        "use_bias": False,
    }
    given = case("NonLocal", fields | {"momentum": 1.0}, {"x": [3, 2, 6, 8, 1]}, {"x": "huge"}, 75)
    outcome = compare_gradients(ar.backend("torch"), given, "float64", gaps_for("torch", "float64"), training=True)
    agrees(outcome)
    assert outcome.worst < 3


ON_JAX = [
    # gradients of 1e-42 and less behind a tanh, which float32 cannot hold: 140,000 units of float64
    case("ScaledDotProductAttention", {"softcap": 30.0, "causal": "bottom_right", "dropout": 0.25},
         {"query": [2, 2, 2, 2], "key": [2, 2, 7, 2], "value": [2, 2, 7, 16], "attention_mask": [1, 2, 7], "sinks": [2],
          "key_lengths": [2]},
         {"query": "plain", "key": "plain", "value": "huge", "attention_mask": "mixed", "sinks": "shifted",
          "key_lengths": "plain"}, 176),
    # tanh comes last: what it returns was not cast back, so that the gradient at its tap was rounded to float32
    case("TextEncoder", {"vocab_size": 5, "max_length": 6, "num_segments": 3, "width": 15, "num_layers": 1,
                         "num_heads": 3, "hidden_width": 7, "activation": "gelu", "pooler": True, "pooling": "pooler"},
         {"token_ids": [2, 1]}, {"token_ids": "plain"}, 16),
]  # fmt: skip


#: forward: a capped score of a row with one key and a sink, where two moves of the noise cancelled in all eight runs
CAPPED = case(
    "ScaledDotProductAttention", {"softcap": 30.0, "dropout": 0.25},
    {"query": [3, 256, 1, 16], "key": [3, 16, 3, 16], "value": [3, 16, 3, 3], "attention_mask": [], "sinks": [256],
     "query_offset": [3], "key_lengths": [3]},
    {"query": "plain", "key": "shifted", "value": "large", "attention_mask": "mixed", "sinks": "plain",
     "query_offset": "plain", "key_lengths": "plain"}, 89,
)  # fmt: skip


@pytest.mark.deep
@pytest.mark.parametrize(
    ("given", "mode"),
    [(ON_JAX[0], "gradient"), (ON_JAX[1], "gradient"), (CAPPED, "forward")],
    ids=["softcap", "pooler", "capped"],
)
def test_what_follows_the_tanh_of_jax(given: Case, mode: str) -> None:
    command = [sys.executable, "-m", "attn_ref", "reproduce", given.to_json(), "--engine", "jax", "--mode", mode]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_noise_that_cancels_in_eight_runs_is_no_difference() -> None:
    """A branch that has all but 7e-9 of its softmax: in eight runs powers and sum moved alike: 500,000 units."""
    fields = {"channels": 4, "branches": 3, "groups": 1, "reduction": 2, "min_width": 5, "stride": 2, "eps": 0.001}
    given = case("SelectiveKernel", fields, {"x": [1, 5, 3, 4]}, {"x": "huge"}, 81)
    agrees(compare_gradients(ar.backend("torch"), given, "float64", gaps_for("torch", "float64")))


def test_a_last_batch_of_one_image_is_refused_where_the_graph_does_not_know_its_size() -> None:
    """It once made the running variance NaN, by n / (n − 1)."""
    import keras
    import tensorflow as tf
    from attn_ref_keras.batch_norm import BatchNorm

    layer = BatchNorm(epsilon=1e-5, momentum=0.1, unbiased=True)
    image = keras.Input((1, 1, 4))
    model = keras.Model(image, layer(image))
    model.compile("sgd", "mse", jit_compile=False)
    images = uniform((3, 1, 1, 4), 1, "images")
    with pytest.raises(tf.errors.InvalidArgumentError, match="training takes at least 2 values for each channel"):
        model.fit(images, images, batch_size=2, verbose=0)
    assert np.isfinite(layer.moving_variance).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_new_non_local_block_is_the_identity(engine: str, batch_norm: bool) -> None:
    """As its authors start it, by the scale of the norm or by the last convolution."""
    backend, block = ar.backend(engine), ar.NonLocal(channels=4, batch_norm=batch_norm)
    layer, x = backend.build(block), uniform((2, 3, 4, 4), 1, "x")
    assert np.array_equal(backend.run(layer, {"x": x}).output, x)
    assert not np.array_equal(backend.run(backend.load(layer, block.init()), {"x": x}).output, x)


@pytest.mark.parametrize(
    "name", ["CBAMResidual", "MultiHeadAttention2d", "NonLocal", "PatchEmbedding", "SelectiveKernel"]
)
def test_keras_being_set_to_channels_first_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once made a TypeError of every convolution that did not say where its channels are."""
    import keras

    monkeypatch.setattr(keras.src.backend.config, "_IMAGE_DATA_FORMAT", "channels_first")
    assert keras.config.image_data_format() == "channels_first"
    (given,) = cases(ar.block(name), 1, seed=2)
    agrees(compare(ar.backend("tensorflow"), given, "float64"))


@pytest.mark.parametrize("function", [ops.tanh, gelu_gate, ops.sigmoid, ops.relu, ops.erf])
def test_a_function_of_one_rounding_moves_by_one_in_every_run(function: Any) -> None:
    """Two alike cancel half of the time; where they did so in all eight runs, tanh on JAX was 16.2 units off."""
    x = np.linspace(0.1, 6.0, 200)
    y = function(x)
    for seed in range(8):
        with noisy(Noise(2.0**-24, seed)):
            np.testing.assert_allclose(np.abs(function(x) - y), 2.0**-24 * np.abs(y), rtol=1e-6)


def test_the_gap_in_the_tanh_of_jax_is_not_granted_to_gelu() -> None:
    """The Keras mirror has it from a sigmoid, which is exact in float64."""
    block = ar.FeedForward(width=3, hidden_width=4, activation="gelu_tanh")
    used = Truth(block, block.init(), {"x": uniform((2, 5, 3), 1, "x")}, "float64").primitives
    assert "gelu_gate" in used
    assert "tanh" not in used


#: a sink far above the scores: all weights are below float32's smallest normal number, and 400 multiplies them
FLUSHED = case(
    "ScaledDotProductAttention",
    {"scale": "head", "softcap": None, "causal": None, "window_left": None, "window_right": None, "dropout": 0.0},
    {"query": [3, 16, 2, 7], "key": [3, 16, 2, 7], "value": [3, 16, 2, 5], "attention_mask": [], "sinks": [16]},
    {"query": "plain", "key": "large", "value": "shifted", "attention_mask": "mixed", "sinks": "shifted"}, 276,
)  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_a_derivative_that_underflows_costs_what_it_multiplies(engine: str) -> None:
    """TensorFlow flushes these weights, and with them the gradient of the scores, to 0; torch keeps them."""
    agrees(compare_gradients(ar.backend(engine), FLUSHED, "float32"))


@pytest.mark.parametrize("in_place", [False, True])
def test_a_derivative_has_the_range_of_its_dtype_and_no_less(in_place: bool) -> None:
    """In float32 the derivative of exp(−60), 9e-27, loses a rounding; that of exp(−88), 6e-39, may be 0."""
    for x, most in ((-60.0, 1e-6), (-88.0, 3.0)):
        noise = Noise(2.0**-24, 1, tiny=2.0**-126)
        with noisy(noise):
            given = np.full(9, x + 1e-30j)
            moved = ops.exp(given, out=given if in_place else None)
        shares = np.abs(moved.imag / 1e-30 - np.exp(x)) / np.exp(x)
        assert most / 100 < shares.max() < most


def test_advice_about_shapes_is_kept_from_whoever_checks() -> None:
    """TensorFlow calls it expensive when Keras' convolution with groups is compiled, shape by shape."""
    backend, heard = ar.backend("tensorflow"), []
    listener = logging.Handler(logging.WARNING)
    listener.emit = heard.append  # type: ignore[method-assign]
    logger = logging.getLogger("tensorflow")
    logger.addHandler(listener)
    try:
        for size in range(3, 7):
            block = ar.SelectiveKernel(channels=4, groups=2, reduction=2)
            layer = backend.load(backend.build(block), block.init())
            backend.run(layer, {"x": np.ones((1, size, 3, 4), "f4")})
    finally:
        logger.removeHandler(listener)
    assert [record.getMessage()[:80] for record in heard] == []


def test_a_derivative_that_the_complex_step_cannot_hold_is_no_alarm() -> None:
    """The weight of a sink 670 below the scores is 1e-288, and its derivative times 1e-30 no normal number."""
    fields = {"scale": 0.3, "softcap": None, "causal": None, "window_left": None, "window_right": None, "dropout": 0.0}
    shapes = {"query": (1, 2, 2, 7), "key": (1, 1, 16, 7), "value": (1, 1, 16, 2), "bias": (16,), "sinks": (2,)}
    styles = {"query": "shifted", "key": "large", "value": "plain", "bias": "huge", "sinks": "huge"}
    case = Case("ScaledDotProductAttention", fields, shapes, styles, 101000408)
    agrees(compare_gradients(ar.backend("torch"), case, "float64", gaps_for("torch", "float64")))


@pytest.mark.parametrize(("units", "learns"), [(0.0, False), (2.0, False), (8.0, True), (1e6, True)])
def test_noise_is_learnt_only_as_far_as_a_case_needs(units: float, learns: bool) -> None:
    """An error within C/4 of the last rounding alone is settled before any run; every other gets what it takes."""
    block, x = (
        ar.ScaledDotProductAttention(scale=None),
        np.ones((1, 1, 1, 1)),
    )  # one key: rounding moves next to nothing
    right = Truth(block, {}, {"query": x, "key": x, "value": x}, "float64", runs=0)
    value, labels = right.taps["weights"]
    seen = {**right.taps, "weights": Tapped(value + units * right.unit["weights"], labels)}
    outcome = Outcome("", 0.0, "")
    judge(outcome, right, seen, LIMIT["float64"])
    assert bool(right.runs) == learns
    assert outcome.first == ("weights" if units == 1e6 else None)
    assert right.runs == RUNS or outcome.first is None, "it differs only after all runs"
