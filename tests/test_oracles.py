"""The reference against scalar loops (``oracles.py``) and closed forms, in float64.

Sizes are distinct primes, so that no swapped axis fits. The tolerance is about a hundred ulps of the largest value;
what is left over is rounding (1e-15 here), and no wrong formula is that close.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import oracles
import pytest

import attn_ref as ar
from attn_ref import ops
from attn_ref.weights import uniform

TOLERANCE = 2e-14
B, T, S = 2, 3, 5


def real(*shape: int, seed: str = "x", size: float = 1.0) -> np.ndarray:
    """Seeded values in (−size, size)."""
    return size * uniform(shape, 7, seed, len(shape))


def coin(*shape: int, seed: str = "mask") -> np.ndarray:
    """Seeded booleans, two thirds of them True; never all of them, if there are several."""
    mask = uniform(shape, 7, seed, len(shape)) > -1 / 3
    if mask.size > 1:
        mask.flat[0], mask.flat[-1] = True, False
    return np.asarray(mask)


def lists(x: Any) -> Any:
    """Nested lists of Python floats, ints and bools."""
    return x.tolist() if isinstance(x, np.ndarray) else x


def assert_close(actual: np.ndarray, expected: Any, tolerance: float = TOLERANCE) -> None:
    """Equal up to ``tolerance`` of the largest expected value; NaN is never equal."""
    expected = np.asarray(expected, dtype=np.float64)
    assert actual.dtype == np.float64
    assert actual.shape == expected.shape
    error, bound = np.abs(actual - expected), tolerance * np.abs(expected).max(initial=0.0)
    worst = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
    at = tuple(map(int, np.unravel_index(worst, error.shape)))
    assert (error <= bound).all(), (
        f"{actual[at]} should be {expected[at]} at {at}: off by {error[at]:.3g} > {bound:.3g}"
    )


def assert_is_oracle(block: Any, oracle: Any, **inputs: np.ndarray) -> np.ndarray:
    """``block`` with seeded weights against ``oracle`` with the same; returns the value."""
    w = block.init(seed=11)
    expected = oracle({k: lists(v) for k, v in w.items()}, **{k: lists(v) for k, v in inputs.items()}, **block.fields())
    actual = block(w, **inputs)
    assert_close(actual, expected)
    return actual


# scaled dot-product attention -----------------------------------------------------------------------------------------


def qkv(
    b: int = B, heads: int = 6, groups: int = 3, t: int = T, s: int = S, size: float = 1.0
) -> dict[str, np.ndarray]:
    """Query, key and value of widths 7 and 11: 1/√7 is inexact."""
    return {"query": real(b, heads, t, 7, seed="q", size=size), "key": real(b, groups, s, 7, seed="k"),
            "value": real(b, groups, s, 11, seed="v")}  # fmt: skip


@pytest.mark.parametrize("scale", ["head", "total", 0.3, None])
@pytest.mark.parametrize("causal", [None, "top_left", "bottom_right"])
@pytest.mark.parametrize(("t", "s"), [(3, 5), (5, 3), (1, 5), (5, 5)])
def test_attention_fields(scale: Any, causal: str | None, t: int, s: int) -> None:
    block = ar.ScaledDotProductAttention(scale=scale, causal=causal)
    assert_is_oracle(block, oracles.scaled_dot_product_attention, **qkv(t=t, s=s))


@pytest.mark.parametrize(("heads", "groups"), [(6, 6), (6, 3), (6, 2), (6, 1), (1, 1)])
def test_attention_heads(heads: int, groups: int) -> None:
    assert_is_oracle(ar.ScaledDotProductAttention(), oracles.scaled_dot_product_attention, **qkv(1, heads, groups))


SHAPES = [
    (),
    (S,),
    (1,),
    (T, S),
    (T, 1),
    (1, S),
    (6, T, S),
    (6, 1, 1),
    (1, T, S),
    (B, 6, T, S),
    (B, 1, 1, S),
    (B, 6, T, 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("causal", [None, "bottom_right"])
def test_attention_masks_of_every_rank(shape: tuple[int, ...], causal: str | None) -> None:
    block = ar.ScaledDotProductAttention(causal=causal)
    assert_is_oracle(block, oracles.scaled_dot_product_attention, **qkv(), attention_mask=coin(*shape))
    assert_is_oracle(block, oracles.scaled_dot_product_attention, **qkv(), bias=real(*shape, seed="bias", size=3))


def test_attention_mask_and_bias_of_different_ranks() -> None:
    masks = {"attention_mask": coin(B, 1, T, S), "bias": real(6, 1, S, seed="bias", size=3)}
    block = ar.ScaledDotProductAttention(causal="top_left", scale="total")
    assert_is_oracle(block, oracles.scaled_dot_product_attention, **qkv(), **masks)


def test_attention_with_nothing_to_attend_to_is_zero() -> None:
    mask = coin(B, 6, T, S)
    mask[1, 4, 2] = mask[0, :, 0] = False
    y = assert_is_oracle(
        ar.ScaledDotProductAttention(), oracles.scaled_dot_product_attention, **qkv(), attention_mask=mask
    )
    assert not y[1, 4, 2].any()
    assert not y[0, :, 0].any()
    assert y[1, 4, 1].any()


def test_attention_rows_before_the_first_key_are_zero() -> None:
    """bottom_right at t > s: the first t − s queries see no key."""
    block = ar.ScaledDotProductAttention(causal="bottom_right")
    y = assert_is_oracle(block, oracles.scaled_dot_product_attention, **qkv(t=5, s=3))
    assert not y[:, :, :2].any()
    assert y[:, :, 2].any()


def test_attention_of_everything_masked_is_zero() -> None:
    mask = np.array(False)
    assert not ar.ScaledDotProductAttention()({}, **qkv(), attention_mask=mask).any()


@pytest.mark.parametrize("size", [30.0, 3000.0])
def test_attention_of_large_logits(size: float) -> None:
    """Scores up to about 50 and 5000: e⁵⁰⁰⁰ overflows unless the maximum is subtracted first."""
    given = qkv(size=size) | {"bias": real(T, S, seed="bias", size=size)}
    block = ar.ScaledDotProductAttention()
    expected = oracles.scaled_dot_product_attention({}, **{k: lists(v) for k, v in given.items()})
    # a score of size z is known to z·u, and so is the logarithm of its weight
    assert_close(block({}, **given), expected, TOLERANCE * size / 30)


def test_attention_by_hand() -> None:
    """Scores 0 and ln 3, so weights 1/4 and 3/4; values 8 and 16; the third key is masked."""
    key = np.array([[0.0], [math.log(3.0)], [9.0]])[None, None]
    value = np.array([[8.0], [16.0], [1e9]])[None, None]
    y = ar.ScaledDotProductAttention()({}, np.ones((1, 1, 1, 1)), key, value, np.array([True, True, False]))
    assert_close(y, [[[[14.0]]]])


# multi-head attention -------------------------------------------------------------------------------------------------

#: every width is its own: six query heads, three key heads, head widths 5 and 7
WIDE = {"width": 13, "num_heads": 6, "num_kv_heads": 3, "key_width": 11, "value_width": 17, "output_width": 19,
        "head_width": 5, "value_head_width": 7}  # fmt: skip

FIELDS = [
    {"width": 12, "num_heads": 2},  # head width 6, two heads
    {"width": 12, "num_heads": 6, "num_kv_heads": 1, "use_bias": False},
    {"width": 12, "num_heads": 4, "num_kv_heads": 2, "output_bias": False, "scale": "total"},
    {"width": 13, "num_heads": 1, "use_bias": False, "output_bias": False, "scale": None},
    {"width": 7, "num_heads": 3, "head_width": 5, "causal": "top_left"},
    {"width": 7, "num_heads": 2, "head_width": 3, "value_head_width": 5, "output_width": 11, "causal": "bottom_right"},
    {"width": 12, "num_heads": 4, "num_kv_heads": 2, "qk_norm": "layer", "softcap": 2.0, "use_sinks": True},
    {"width": 12, "num_heads": 2, "qk_norm": "rms", "qk_norm_eps": 0.1, "rotary": "half", "window_left": 1},
    {"width": 12, "num_heads": 2, "rotary": "interleaved", "rotary_width": 4, "rotary_base": 7.0, "window_right": 0},
    {"width": 12, "num_heads": 1, "rotary": "half", "rotary_scaling": 3.0, "rotary_width": 2, "causal": "top_left"},
]


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: ",".join(map(str, fields.values())))
def test_multi_head_self_attention(fields: dict[str, Any]) -> None:
    block = ar.MultiHeadAttention(**fields)
    assert_is_oracle(block, oracles.multi_head_attention, query=real(B, S, block.width))


@pytest.mark.parametrize("causal", [None, "top_left", "bottom_right"])
@pytest.mark.parametrize(("use_bias", "output_bias"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("b", [1, 2])
def test_multi_head_cross_attention(causal: str | None, use_bias: bool, output_bias: bool, b: int) -> None:
    block = ar.MultiHeadAttention(**WIDE, causal=causal, use_bias=use_bias, output_bias=output_bias)
    given = {"query": real(b, T, 13, seed="q"), "key": real(b, S, 11, seed="k"), "value": real(b, S, 17, seed="v")}
    assert_is_oracle(block, oracles.multi_head_attention, **given)


@pytest.mark.parametrize("causal", [None, "top_left", "bottom_right"])
@pytest.mark.parametrize("rotary", [None, "half", "interleaved"])
@pytest.mark.parametrize("given", [(), ("query_offset",), ("key_lengths",), ("query_offset", "key_lengths")], ids=str)
def test_multi_head_attention_positions(causal: str | None, rotary: str | None, given: tuple[str, ...]) -> None:
    block = ar.MultiHeadAttention(width=8, num_heads=2, causal=causal, rotary=rotary, window_left=3, qk_norm="rms")
    where = {"query_offset": np.array([2, 0]), "key_lengths": np.array([4, 1])}
    inputs = {"query": real(B, T, 8, seed="q"), "key": real(B, S, 8, seed="k")} | {n: where[n] for n in given}
    assert_is_oracle(block, oracles.multi_head_attention, **inputs)


def test_multi_head_attention_of_one_key_and_value() -> None:
    """``value`` left out is ``key``, not ``query``."""
    block = ar.MultiHeadAttention(width=7, num_heads=2, head_width=3, key_width=11)
    assert_is_oracle(block, oracles.multi_head_attention, query=real(B, T, 7, seed="q"), key=real(B, S, 11, seed="k"))


@pytest.mark.parametrize("shape", [(1, 1, T, S), (1, 1, 1, S), (B, 6, T, S), (B, 1, 1, S), (1, 6, T, 1)], ids=str)
def test_multi_head_attention_masks(shape: tuple[int, ...]) -> None:
    given = {"query": real(B, T, 13, seed="q"), "key": real(B, S, 11, seed="k"), "value": real(B, S, 17, seed="v")}
    block = ar.MultiHeadAttention(**WIDE)
    assert_is_oracle(block, oracles.multi_head_attention, **given, attention_mask=coin(*shape))
    assert_is_oracle(block, oracles.multi_head_attention, **given, bias=real(*shape, seed="bias", size=3))


def test_multi_head_attention_with_nothing_to_attend_to_is_the_output_bias() -> None:
    block, mask = ar.MultiHeadAttention(width=7, num_heads=2, head_width=3), np.ones((1, 1, S, S), bool)
    mask[..., 3, :] = False
    y = assert_is_oracle(block, oracles.multi_head_attention, query=real(B, S, 7), attention_mask=mask)
    bias = block.init(seed=11)["project.bias"]
    assert (y[:, 3] == bias).all()
    assert not (y[:, 2] == bias).any()


def test_multi_head_attention_of_large_logits() -> None:
    block = ar.MultiHeadAttention(**WIDE)
    given = {
        "query": real(B, T, 13, seed="q", size=30),
        "key": real(B, S, 11, seed="k"),
        "value": real(B, S, 17, seed="v"),
    }
    assert_is_oracle(block, oracles.multi_head_attention, **given)


def test_multi_head_attention_parameters() -> None:
    """(in, out) kernels of the widths that the fields name; key and value have the key heads' share."""
    w = ar.MultiHeadAttention(**WIDE).init()
    assert {name: x.shape for name, x in w.items()} == {
        "query.kernel": (13, 6 * 5), "query.bias": (6 * 5,), "key.kernel": (11, 3 * 5), "key.bias": (3 * 5,),
        "value.kernel": (17, 3 * 7), "value.bias": (3 * 7,), "project.kernel": (6 * 7, 19), "project.bias": (19,),
    }  # fmt: skip


# feed-forward, encoder layer, text encoder ----------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "quick_gelu"])
def test_feed_forward(activation: str) -> None:
    block = ar.FeedForward(width=5, hidden_width=7, activation=activation)
    assert_is_oracle(block, oracles.feed_forward, x=real(B, T, 5, size=3))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(("activation", "eps"), [("relu", 1e-5), ("gelu", 1e-12), ("gelu_tanh", 0.1)])
@pytest.mark.parametrize("masked", [False, True])
def test_encoder_layer(norm_first: bool, activation: str, eps: float, masked: bool) -> None:
    block = ar.EncoderLayer(
        width=14, num_heads=2, hidden_width=11, activation=activation, norm_first=norm_first, eps=eps
    )
    given = {"x": real(B, S, 14)}
    if masked:
        given |= {"attention_mask": coin(B, 2, S, S), "bias": real(1, 1, S, S, seed="bias")}
        given["attention_mask"][0, :, 1] = False
    assert_is_oracle(block, oracles.encoder_layer, **given)


TEXT = {"vocab_size": 17, "max_length": 7, "num_segments": 3, "width": 10, "num_layers": 2, "num_heads": 2,
        "hidden_width": 11}  # fmt: skip
IDS = np.array([[3, 16, 0, 5, 5], [2, 2, 9, 11, 13]])


@pytest.mark.parametrize("pooling", ["none", "mean", "pooler"])
@pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_tanh"])
def test_text_encoder(pooling: str, activation: str) -> None:
    block = ar.TextEncoder(**TEXT, pooling=pooling, pooler=pooling == "pooler", activation=activation)
    assert_is_oracle(block, oracles.text_encoder, token_ids=IDS)
    padding = np.array([[True, True, True, False, False], [True, False, True, True, True]])
    segments = np.array([[0, 1, 1, 2, 0], [2, 2, 0, 1, 1]])
    assert_is_oracle(block, oracles.text_encoder, token_ids=IDS, padding_mask=padding, segment_ids=segments)


@pytest.mark.parametrize("pooling", ["none", "mean"])
def test_text_encoder_row_of_padding_only(pooling: str) -> None:
    block = ar.TextEncoder(**TEXT, pooling=pooling, eps=1e-5)
    padding = np.array([[False] * 5, [True] * 5])
    y = assert_is_oracle(block, oracles.text_encoder, token_ids=IDS, padding_mask=padding)
    assert y[0].any() == (pooling == "none")


# ops ------------------------------------------------------------------------------------------------------------------


def rows(f: Any) -> Any:
    """A function of one vector, as one of an array: over its last axis."""
    return lambda x, *more: np.array([f(row, *more) for row in x.reshape(-1, x.shape[-1]).tolist()]).reshape(
        *x.shape[:-1], -1
    )


def each(f: Any) -> Any:
    """A function of one number, as one of an array."""
    return lambda x: np.array([f(v) for v in x.ravel().tolist()]).reshape(x.shape)


KEEP = np.array([[True, False, True, True, False, True, True], [False] * 7, [False] * 3 + [True] + [False] * 3])
SCALE, OFFSET = real(7, seed="scale") + 2, real(7, seed="offset")
KERNEL, BIAS = real(7, 3, seed="kernel"), real(3, seed="bias")


def kept_softmax(x: np.ndarray) -> np.ndarray:
    return np.array([oracles.softmax(row, keep) for row, keep in zip(x.tolist(), KEEP.tolist(), strict=True)])


SINK = real(3, 1, seed="sink", size=3.0)


def sunk_softmax(x: np.ndarray) -> np.ndarray:
    found = [
        oracles.softmax([*row, *sink], [*keep, True])[:-1]
        for row, sink, keep in zip(x.tolist(), SINK.tolist(), KEEP.tolist(), strict=True)
    ]
    return np.array(found)


def columns_softmax(x: np.ndarray) -> np.ndarray:
    return rows(oracles.softmax)(x.T).T


def product(x: np.ndarray) -> np.ndarray:
    return np.array([oracles.linear(row, KERNEL.tolist()) for row in x.tolist()])


#: name -> the op, its scalar definition, and the values that it is tried on, besides plain ones
OPS = {
    "softmax": (ops.softmax, rows(oracles.softmax), 30.0),
    "softmax, axis": (lambda x: ops.softmax(x, axis=0), columns_softmax, 30.0),
    "softmax, keep": (lambda x: ops.softmax(ops.masked(x, KEEP)), kept_softmax, 30.0),
    "softmax, sink": (lambda x: ops.softmax(ops.masked(x, KEEP), sink=SINK), sunk_softmax, 30.0),
    "rms_norm": (
        lambda x: ops.rms_norm(x, SCALE, eps=0.1), rows(lambda row: oracles.rms_norm(row, SCALE.tolist(), 0.1)), 9.0
    ),
    "erf": (ops.erf, each(math.erf), 6.0),
    "gelu": (ops.gelu, each(oracles.gelu), 40.0),
    "gelu_tanh": (ops.gelu_tanh, each(oracles.gelu_tanh), 40.0),
    "quick_gelu": (ops.quick_gelu, each(oracles.quick_gelu), 40.0),
    "silu": (ops.silu, each(oracles.GATED["silu"]), 40.0),
    "relu": (ops.relu, each(oracles.relu), 40.0),
    "tanh": (ops.tanh, each(math.tanh), 20.0),
    "sqrt": (lambda x: ops.sqrt(x * x + 1), each(lambda v: math.sqrt(v * v + 1)), 9.0),
    "mean": (ops.mean, lambda x: np.array([math.fsum(row) / 7 for row in x.tolist()]), 9.0),
    "mean, axes": (
        lambda x: ops.mean(x, axis=(0, 1), keepdims=True),
        lambda x: np.array([[math.fsum(x.ravel().tolist()) / 21]]),
        9.0,
    ),
    "layer_norm": (
        lambda x: ops.layer_norm(x, SCALE, OFFSET, eps=0.1),
        rows(lambda row: oracles.layer_norm(row, SCALE.tolist(), OFFSET.tolist(), 0.1)),
        9.0,
    ),
    "linear": (
        lambda x: ops.linear(x, KERNEL, BIAS), rows(lambda r: oracles.linear(r, KERNEL.tolist(), BIAS.tolist())), 9.0
    ),
    "linear, no bias": (lambda x: ops.linear(x, KERNEL), product, 9.0),
    "matmul": (lambda x: ops.matmul(x, KERNEL), product, 9.0),
    "cos": (ops.cos, each(math.cos), 9.0),
    "sin": (ops.sin, each(math.sin), 9.0),
    "power": (lambda x: ops.power(1.1, x), each(lambda v: 1.1**v), 9.0),
    "quotient": (lambda x: ops.quotient(x, x * x + 1), each(lambda v: v / (v * v + 1)), 9.0),
    "rotary_angles": (
        lambda x: ops.rotary_angles(x, 4, base=100.0, scaling=2.0),
        lambda x: np.array([[[v / 2, v / 2 / 100**0.5] for v in row] for row in x.tolist()]),
        9.0,
    ),
    "sigmoid": (ops.sigmoid, each(lambda v: 1 / (1 + math.exp(-v)) if v > -700 else 0.0), 30.0),
    "largest": (lambda x: ops.largest(x, axis=-1), lambda x: np.array([max(row) for row in x.tolist()]), 9.0),
    "exp": (lambda x: ops.exp(-x * x), each(lambda v: math.exp(-v * v)), 9.0),
    "embedding": (
        lambda x: ops.embedding(np.array([[2, 0], [2, 1]]), x),
        lambda x: np.array([[x.tolist()[i] for i in row] for row in ((2, 0), (2, 1))]),
        9.0,
    ),
    "split_heads": (
        lambda x: ops.split_heads(x[None], 7),
        lambda x: np.array([[[[x[t, h]] for t in range(3)] for h in range(7)]]),
        9.0,
    ),
    "merge_heads": (
        lambda x: ops.merge_heads(x[None, :, :, None]),
        lambda x: np.array([[[x[h, t] for h in range(3)] for t in range(7)]]),
        9.0,
    ),
    "repeat_heads": (
        lambda x: ops.repeat_heads(x[None, :, :, None], 2),
        lambda x: np.array([[[[x[h // 2, t]] for t in range(7)] for h in range(6)]]),
        9.0,
    ),
    "bounded": (lambda x: ops.bounded(x, 0.75), each(lambda v: min(max(v, -0.75), 0.75)), 9.0),
    "at_most": (lambda x: ops.at_most(x, 0.75), each(lambda v: min(v, 0.75)), 9.0),
    "among_largest": (
        lambda x: np.where(ops.among_largest(x, 3), x, 0.0),
        rows(lambda row: [v * (sum(u > v for u in row) + row[:i].count(v) < 3) for i, v in enumerate(row)]),
        9.0,
    ),
    "dropout": (lambda x: ops.dropout(x, 0.5, "b c"), lambda x: np.array(x.tolist()), 9.0),
}  # fmt: skip


#: ops that are no functions of an array of reals alone, and are held to theirs in tests of their own
ELSEWHERE = {
    "split_pairs", "merge_pairs", "bias_slopes", "distance_buckets",  # test_positions.py
    "conv", "max_pool", "batch_norm", "standardised", "hard_sigmoid",  # test_conv_blocks.py
    "reach",  # of whole numbers; below
    "rotary_frequencies",  # of no array; under "rotary_angles"
    "masked",  # −∞ has no differences; what follows from it is held to them under "softmax, keep"
}  # fmt: skip


def test_every_op_is_held_to_its_scalar_definition_and_to_differences() -> None:
    """A new op is asked for here: an entry of OPS, under its name or its name and a comma."""
    held = {name.partition(",")[0] for name in OPS}
    missing = [name for name in ops.__all__ if callable(getattr(ops, name)) and name not in held | ELSEWHERE]
    assert not missing, f"no entry of OPS for {', '.join(missing)}"
    assert {op.__name__ for op in (*ops.ACTIVATIONS.values(), *ops.GATED.values())} <= held


def test_positions_reach_one_beyond_the_largest() -> None:
    assert ops.reach(np.array([[3, 5], [0, 1]]), 2) == 6
    assert ops.reach(np.array([[3, 5]]), 9) == 9
    assert ops.reach(np.zeros((0, 2)), 9) == 9


def test_of_equal_values_the_first_are_among_the_largest() -> None:
    assert ops.among_largest(np.array([1.0, 2.0, 2.0, 0.0, 2.0]), 2).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("name", OPS)
def test_op(name: str) -> None:
    """Values, at ordinary and at large arguments."""
    op, oracle, large = OPS[name]
    for size in (1.0, large):
        x = real(3, 7, size=size)
        assert_close(op(x), oracle(x))


@pytest.mark.parametrize("name", OPS)
def test_op_is_complex_safe(name: str) -> None:
    """Im f(x + ihv) / h is the derivative along v: central differences of the scalar definition say which."""
    op, oracle, _ = OPS[name]
    x, v, h, step = real(3, 7, size=2.0), real(3, 7, seed="v"), 1e-30, 1e-5
    tangent = op(x + 1j * h * v).imag / h
    differences = (oracle(x + step * v) - oracle(x - step * v)) / (2 * step)
    assert_close(tangent, differences, 1e-9)
    assert np.abs(tangent).max() > 1e-3
    np.testing.assert_array_equal(op(x + 0j).imag, 0)
    assert_close(op(x + 1j * h * v).real, oracle(x))


@pytest.mark.parametrize("name", OPS)
def test_op_far_out_has_a_finite_derivative(name: str) -> None:
    """At ±800 many a formula overflows to NaN in the imaginary part."""
    op, oracle, _ = OPS[name]
    x = np.where(real(3, 7) > 0, 800.0, -800.0)
    z = op(x + 1e-30j * real(3, 7, seed="v"))
    assert_close(z.real, oracle(x))
    assert np.isfinite(z.imag).all()


def test_layer_norm_is_complex_safe_in_scale_and_offset() -> None:
    x, v, h = real(3, 7), real(7, seed="v"), 1e-30
    normal = rows(lambda row: oracles.layer_norm(row, [1.0] * 7, [0.0] * 7, 1e-5))(x)
    assert_close(ops.layer_norm(x, SCALE + 1j * h * v, OFFSET, eps=1e-5).imag / h, normal * v)
    assert_close(ops.layer_norm(x, SCALE, OFFSET + 1j * h * v, eps=1e-5).imag / h, np.broadcast_to(v, (3, 7)))


def test_linear_is_complex_safe_in_kernel_and_bias() -> None:
    x, h = real(3, 7), 1e-30
    v, u = real(7, 3, seed="v"), real(3, seed="u")
    expected = [oracles.linear(row, v.tolist(), u.tolist()) for row in x.tolist()]
    assert_close(ops.linear(x, KERNEL + 1j * h * v, BIAS + 1j * h * u).imag / h, expected)


def test_matmul_broadcasts_the_leading_axes() -> None:
    a, b = real(2, 1, 3, 5, seed="a"), real(1, 7, 5, 11, seed="b")
    y = ops.matmul(a, b)
    assert y.shape == (2, 7, 3, 11)
    expected = [math.fsum(a[1, 0, 2, k] * b[0, 6, k, 10] for k in range(5))]
    assert_close(y[1, 6, 2, 10:], expected)


def test_relu_has_no_slope_at_zero() -> None:
    z = ops.relu(np.array([0.0 + 1e-30j, -0.0 + 1e-30j]))
    np.testing.assert_array_equal(z.imag, 0)


def test_softmax_by_hand() -> None:
    """e⁰ : e^ln 3 : e^ln 4 = 1 : 3 : 4; leaving out the 3 gives 1 : 4; a maximum of 1e308 does no harm."""
    x = np.array([0.0, math.log(3), math.log(4)])
    assert_close(ops.softmax(x), [1 / 8, 3 / 8, 4 / 8])
    assert_close(ops.softmax(ops.masked(x, np.array([True, False, True]))), [1 / 5, 0, 4 / 5])
    assert_close(ops.softmax(np.array([1e308, 0.0, 1e308])), [0.5, 0, 0.5])
    np.testing.assert_array_equal(ops.softmax(np.full(3, -np.inf)), 0)


def test_gelu_by_hand() -> None:
    """Φ(1) is 0.8413447460685429; the tanh form is up to 4.7e-4 away, at x near 2.7."""
    assert_close(ops.gelu(np.array([1.0, -1.0, 0.0])), [0.8413447460685429, 0.8413447460685429 - 1, 0])
    x = np.linspace(-5, 5, 1001)
    assert 4.6e-4 < np.abs(ops.gelu(x) - ops.gelu_tanh(x)).max() < 4.8e-4


def test_layer_norm_by_hand() -> None:
    """Mean 2, biased variance 1: eps 3 halves what comes out."""
    x, one, two = np.array([[1.0, 3.0]]), np.array([1.0, 1.0]), np.array([2.0, 2.0])
    assert_close(ops.layer_norm(x, one, np.zeros(2), eps=0.0), [[-1, 1]])
    assert_close(ops.layer_norm(x, two, one, eps=3.0), [[0, 2]])


def test_heads_are_contiguous_slices() -> None:
    x = real(2, 3, 5 * 7)
    y = ops.split_heads(x, 5)
    assert y.shape == (2, 5, 3, 7)
    for b, h, t, c in np.ndindex(2, 5, 3, 7):
        assert y[b, h, t, c] == x[b, t, h * 7 + c]
    np.testing.assert_array_equal(ops.merge_heads(y), x)
    z = real(2, 5, 3, 7) + 1j
    np.testing.assert_array_equal(ops.split_heads(ops.merge_heads(z), 5), z)


def test_repeated_heads_stand_side_by_side() -> None:
    x = real(2, 3, 5, 7)
    y = ops.repeat_heads(x, 2)
    assert y.shape == (2, 6, 5, 7)
    for b, h in np.ndindex(2, 6):
        np.testing.assert_array_equal(y[b, h], x[b, h // 2])
    assert (ops.repeat_heads(x + 1e-30j, 2).imag == 1e-30).all()


def test_embedding_rows() -> None:
    table, ids = real(11, 5), np.array([[3, 0, 10], [3, 3, 7]])
    y = ops.embedding(ids, table)
    assert y.shape == (2, 3, 5)
    for b, t in np.ndindex(2, 3):
        np.testing.assert_array_equal(y[b, t], table[ids[b, t]])
    np.testing.assert_array_equal(ops.embedding(ids, table + 1e-30j * table).imag, 1e-30 * y)


def test_dropout_multiplies_by_what_replaces_its_tap() -> None:
    x, keep = real(2, 5), np.array([[0.0, 2.0, 2.0, 0.0, 2.0], [2.0, 0.0, 2.0, 2.0, 0.0]])
    np.testing.assert_array_equal(ops.dropout(x, 0.5, "b c"), x)
    with ar.replace({"keep": ar.Tapped(keep.T, "c b")}):
        y = ops.dropout(x + 1e-30j, 0.5, "b c")
    np.testing.assert_array_equal(
        y.real, [[v * k for v, k in zip(*row, strict=True)] for row in zip(x, keep, strict=True)]
    )
    np.testing.assert_array_equal(y.imag, 1e-30 * keep)
