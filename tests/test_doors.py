"""Arrays of every kind at every door: inputs, weights, cotangent, tap replacements. Each works exactly, or is refused.

What is refused is refused by one error, a ValueError that says what was given, whatever the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import attn_ref as ar
from attn_ref.tap import Tapped

BLOCK = ar.FeedForward(width=2, hidden_width=3)
X, W = np.arange(8.0).reshape(1, 4, 2) - 3, BLOCK.init()


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.setflags(write=False)
    return x


def tensor(x: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(x).to(torch.bfloat16).requires_grad_()


#: what holds whole numbers from −3 to 4 exactly
EXACT: dict[str, Callable[[np.ndarray], Any]] = {
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16),
    "float8": lambda x: x.astype(ml_dtypes.float8_e4m3fn),
    "float16": lambda x: x.astype(np.float16),
    "float32, the other byte order": lambda x: x.astype(">f4"),
    "float64, the other byte order": lambda x: x.astype(">f8"),
    "read-only": read_only,
    "negative strides": lambda x: x[..., ::-1].copy()[..., ::-1],
    "torch's bfloat16": tensor,
}
#: what is no array of at most 64-bit reals, and a word of the refusal
REFUSED: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "longdouble": (lambda x: x.astype(np.longdouble), "float128|longdouble"),
    "complex": (lambda x: x + 0j, "complex128"),
    "text": (lambda x: x.astype(str), "<U32"),
    "object": (lambda x: x.astype(object), "object"),
    "datetime": (lambda x: x.astype("M8[s]"), "datetime64"),
    "structured": (lambda x: np.zeros(x.shape, [("a", "f8")]), "'a'"),
}
ENGINES = ("torch", "tensorflow")
KERNEL = np.array([[-3.0, 0.0, 1.0], [2.0, 4.0, -1.0]])


def doors(engine: str, x: Any, kernel: Any) -> dict[str, Callable[[], Any]]:
    """What each door gives for ``x``, or for ``kernel`` as a weight."""
    backend = ar.backend(engine)

    def layer(**other: Any) -> Any:
        return backend.load(backend.build(BLOCK), {**W, **other})

    return {
        "input": lambda: backend.run(layer(), {"x": x}).output,
        "weight": lambda: backend.run(layer(**{"expand.kernel": kernel}), {"x": X}).output,
        "cotangent": lambda: backend.gradients(layer(), {"x": X}, x).gradients["input x"],
        "replaced": lambda: backend.run(layer(), {"x": X}, replace={"reduced": Tapped(x, "b t c")}).output,
        "added": lambda: backend.run(layer(), {"x": X}, add={"reduced": Tapped(x, "b t c")}).output,
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", EXACT)
def test_works_exactly(engine: str, kind: str) -> None:
    given, plain = doors(engine, EXACT[kind](X), EXACT[kind](KERNEL)), doors(engine, X, KERNEL)
    for door, run in given.items():
        np.testing.assert_array_equal(run(), plain[door](), err_msg=door)
    np.testing.assert_array_equal(BLOCK(W, EXACT[kind](X)), BLOCK(W, X))
    other = {**W, "expand.kernel": EXACT[kind](KERNEL)}
    np.testing.assert_array_equal(BLOCK(other, X), BLOCK({**W, "expand.kernel": KERNEL}, X))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", REFUSED)
def test_is_refused(engine: str, kind: str) -> None:
    make, word = REFUSED[kind]
    for run in doors(engine, make(X), make(KERNEL)).values():
        with pytest.raises(ValueError, match=word):
            run()


@pytest.mark.parametrize("kind", ["text", "object", "datetime", "structured"])
def test_the_reference_refuses(kind: str) -> None:
    make, word = REFUSED[kind]
    with pytest.raises(ValueError, match=word):
        BLOCK(W, make(X))
    with pytest.raises(ValueError, match=rf"wrong dtype: expand\.kernel is .*({word}).*, and weights are floats"):
        BLOCK({**W, "expand.kernel": make(KERNEL)}, X)


def test_the_words() -> None:
    backend = ar.backend("torch")
    layer = backend.load(backend.build(BLOCK), W)
    with pytest.raises(ValueError, match="the cotangent") as refusal:
        backend.gradients(layer, {"x": X}, X + 0j)
    assert str(refusal.value) == (
        "FeedForward: the cotangent is of dtype complex128, and engines take float16, bfloat16, float32, float64, "
        "integers and bools; give its real part"
    )
    with pytest.raises(ValueError, match=r"round first: x.astype\(np.float64\)"):
        backend.run(layer, {"x": X.astype(np.longdouble)})
    half = {name: value.astype(np.float16) for name, value in W.items()}
    with pytest.raises(ValueError, match=r"expand\.kernel is bfloat16, which float16 cannot hold exactly"):
        backend.load(backend.build(BLOCK, "float16"), {**half, "expand.kernel": KERNEL.astype(ml_dtypes.bfloat16)})


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", ">i8", "uint8", "uint16", "uint32", "uint64", "int4"])
@pytest.mark.parametrize("engine", ENGINES)
def test_indices_of_every_kind(engine: str, dtype: str) -> None:
    rotary, backend = ar.RotaryEmbedding(width=2), ar.backend(engine)
    positions = np.array([5, 0, 3, 1]).astype(getattr(ml_dtypes, dtype, dtype))
    x = {"x": np.ones((1, 1, 4, 2)), "positions": positions}
    want = rotary({}, np.ones((1, 1, 4, 2)), np.array([5, 0, 3, 1]))
    np.testing.assert_array_equal(rotary({}, **x), want)
    np.testing.assert_allclose(backend.run(backend.build(rotary), x).output, want, rtol=0, atol=1e-15)


@pytest.mark.parametrize("engine", ENGINES)
def test_indices_beyond_64_bits_are_refused(engine: str) -> None:
    rotary, backend = ar.RotaryEmbedding(width=2), ar.backend(engine)
    x = {"x": np.ones((1, 1, 1, 2)), "positions": np.array([2**63], np.uint64)}
    with pytest.raises(ValueError, match=r"positions is of dtype uint64.*2⁶³ and more are out of reach"):
        backend.run(backend.build(rotary), x)


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_of_rank_0(engine: str) -> None:
    block, backend = ar.ScaledDotProductAttention(), ar.backend(engine)
    x = {name: np.ones((1, 1, 2, 2)) for name in ("query", "key", "value")}
    bias = np.array(1.5, ml_dtypes.bfloat16)
    for extra in ({"bias": bias, "attention_mask": np.array(True)}, {"attention_mask": np.bool_(False)}):
        want = block({}, **x, **extra)
        np.testing.assert_allclose(backend.run(backend.build(block), {**x, **extra}).output, want, rtol=1e-15)


@pytest.mark.parametrize("engine", ENGINES)
def test_indices_beyond_32_bits(engine: str) -> None:
    """Keras' indices are int32: a position of 2³¹ + 5 was one of −2³¹ + 5."""
    rotary, backend = ar.RotaryEmbedding(width=2), ar.backend(engine)
    x = {"x": np.ones((1, 1, 1, 2)), "positions": np.array([2**31 + 5])}
    np.testing.assert_allclose(backend.run(backend.build(rotary), x).output, rotary({}, **x), rtol=1e-14)


def test_the_mask_of_a_masked_array_is_not_lost() -> None:
    """It was dropped without a word at every door."""
    block = ar.FeedForward(width=2, hidden_width=3)
    x = np.ma.masked_array(np.ones((1, 2, 2)), mask=[[[True, False], [False, False]]])
    with pytest.raises(ValueError, match=r"FeedForward: x: .* its mask would be lost; give its data"):
        block(block.init(), x)
    with pytest.raises(ValueError, match="its mask would be lost"):
        block(block.init() | {"reduce.bias": np.ma.masked_array(np.ones(2))}, np.ones((1, 2, 2)))
