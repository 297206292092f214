"""Primitives take short ways with real numbers: these are the long ways, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attn_ref as ar
from attn_ref import ops
from attn_ref.ops.primitive import Noise, kink, kinks
from attn_ref.weights import uniform

INF = np.inf
#: corners, ties, both zeros, the smallest and the largest numbers
HARD = np.array(
    [-3.0, 3.0, np.nextafter(3, 0), -0.0, 0.0, 5e-324, -1e-310, 2.0, 2.0, -2.0, 1e300, -1e300, 700.0, -800.0]
)
DTYPES = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_what_choosing_gives(dtype: Any) -> None:
    with np.errstate(over="ignore"):
        x = np.concatenate([HARD, 5 * uniform((99,), 1)]).astype(dtype)
    powers, zero, six = np.exp(-np.abs(x)), dtype(0), dtype(6)
    for op, want in [
        (ops.relu, np.where(x > 0, x, zero)),
        (ops.hard_sigmoid, np.where(x > -3, np.where(x < 3, x + 3.0, six), zero) / 6.0),
        (ops.sigmoid, np.where(x >= 0, 1.0, powers) / (1.0 + powers)),
    ]:
        assert op(x).dtype == dtype
        np.testing.assert_array_equal(op(x), want)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), (2, 1), (-1, -3)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_the_largest_of_reals_and_of_complex_numbers(axis: Any, keepdims: bool) -> None:
    x = np.round(3 * uniform((2, 3, 4, 5), 1))  # ties
    z = x + 1e-30j * np.arange(x.size).reshape(x.shape)
    top = ops.largest(z, axis, keepdims=keepdims)
    np.testing.assert_array_equal(ops.largest(x, axis, keepdims=keepdims), np.max(x, axis, keepdims=keepdims))
    np.testing.assert_array_equal(top.real, np.max(x, axis, keepdims=keepdims))
    assert set(top.ravel()) <= set(z.ravel())  # each with the imaginary part that stood beside it


def test_the_largest_of_windows_has_the_derivative_of_the_first() -> None:
    x = np.zeros((1, 2, 2, 1)) + 1e-30j * np.arange(4.0).reshape(1, 2, 2, 1)
    assert ops.max_pool(x, 2).ravel().tolist() == [0]
    assert ops.max_pool(x, 2, stride=1, padding=1)[0, 2, 2, 0] == x[0, 1, 1, 0]


@pytest.mark.parametrize("dtype", [*DTYPES, np.complex128])
@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (4, 14), (1, 14), (3, 4, 14)])
def test_a_mask_keeps_every_bit_of_what_stays(dtype: Any, shape: tuple[int, ...]) -> None:
    with np.errstate(over="ignore"):
        x = np.broadcast_to(HARD.astype(dtype), (3, 4, 14)).copy()
        x = x + 1e-30j if dtype is np.complex128 else x
    keep = np.asarray(uniform(shape, 1, "keep") > 0)
    want = np.where(keep, x, x.dtype.type(-INF))
    assert ops.masked(x, keep).dtype == dtype
    assert ops.masked(x, keep).tobytes() == want.tobytes()
    assert ops.masked(x.copy(), keep, spent=True).tobytes() == want.tobytes()


def test_what_is_spent_is_written_over_unless_someone_heard_of_it() -> None:
    x = uniform((3, 4), 1)
    for op in (ops.softmax, lambda x, **how: ops.masked(x, x > 0, **how)):
        given = x.copy()
        want = op(given)
        np.testing.assert_array_equal(given, x)
        with ar.record():
            assert op(given, spent=True).tobytes() == want.tobytes()
        np.testing.assert_array_equal(given, x)
        assert op(given, spent=True) is given
        assert given.tobytes() == want.tobytes()


def test_a_sink_of_a_wider_dtype_gives_the_same_whether_or_not_anyone_listens() -> None:
    x = {name: uniform((1, 2, 3, 4), name).astype(np.float32) for name in ("query", "key", "value")}
    x["sinks"] = uniform((2,), "sinks")
    with ar.record():
        want = ar.ScaledDotProductAttention()({}, **x)
    got = ar.ScaledDotProductAttention()({}, **x)
    assert got.dtype == want.dtype
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("name", list(ar.blocks()))
def test_to_listen_changes_no_bit_and_a_call_no_input(name: str) -> None:
    from attn_ref.check.cases import cases

    for case in cases(ar.block(name), 6, seed=3):
        block, w, x = case.build(), case.weights(), case.inputs()
        before = {key: value.copy() for key, value in (w | x).items()}
        quiet = block(w, **x)
        with ar.record() as taps:
            heard = block(w, **x)
        copies = {key: value.copy() for key, (value, _) in taps.items()}
        assert quiet.tobytes() == heard.tobytes() == block(w, **x).tobytes()
        for key, (value, _) in taps.items():
            np.testing.assert_array_equal(value, copies[key])
        for key, value in (w | x).items():
            np.testing.assert_array_equal(value, before[key])


def test_where_a_kink_lies_is_computed_for_those_who_ask() -> None:
    def never() -> bool:
        raise AssertionError

    kink(never)
    with kinks() as found:
        kink(lambda: np.array([False, True]))
    assert found == [True]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (5, 4, 3), (300, 200)])
def test_noise_is_that_of_its_seed_and_keeps_dtype_and_shape(dtype: Any, shape: tuple[int, ...]) -> None:
    x = np.asarray(uniform(shape, 1) + (1e-30j * uniform(shape, 2) if dtype in (np.complex64, np.complex128) else 0.0))
    x = x.astype(dtype).T
    unit = 2.0**-10
    first, second, other = (Noise(unit, seed, tiny=2.0**-40).move(x, 1e-30) for seed in (1, 1, 2))
    assert first.dtype == dtype
    assert first.shape == x.shape
    np.testing.assert_array_equal(first, second)
    assert x.size < 9 or not np.array_equal(first, other)
    for part, tiny in ((np.real, 2.0**-40), (np.imag, 2.0**-40 * 1e-30)):
        step = np.abs(part(first) - part(x))
        want = np.where(part(x) == 0, 0, unit * np.abs(part(x)) + tiny)
        np.testing.assert_allclose(step, want, rtol=1e-3)


def test_the_signs_of_noise_are_drawn_evenly_and_none_twice() -> None:
    noise = Noise(1.0, 1)
    signs = np.concatenate([noise.move(np.ones(n)) - 1 for n in (1, 3, 16384, 20000, 5, 16379, 7)])
    assert set(signs) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.02
    half = len(signs) // 2
    assert abs((signs[:half] * signs[half : 2 * half]).mean()) < 0.03


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", list(ar.blocks()))
def test_what_comes_out_has_the_dtype_of_what_goes_in(name: str, dtype: str) -> None:
    """Rotary positions once made float64 of float32. Of positions alone a bias is float64."""
    from attn_ref.check.cases import cases

    for case in cases(ar.block(name), 8, seed=4):
        block, given = case.build(), case.within(dtype)
        y = block(given.weights(dtype), **given.inputs(dtype))
        assert y.dtype == ("float64" if name == "LinearPositionBias" else dtype)


def test_a_cosine_in_another_precision_keeps_its_derivative() -> None:
    angle, like = np.array([1.0 + 1e-30j]), np.ones(1, np.float32)
    for op, slope in ((ops.cos, -np.sin(1.0)), (ops.sin, np.cos(1.0))):
        y = op(angle, like=like)
        assert y.dtype == np.complex64
        np.testing.assert_allclose(y.imag / 1e-30, slope, rtol=1e-6)
        assert op(angle.real, like=like).dtype == np.float32
        assert op(angle.real).dtype == np.float64
