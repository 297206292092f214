"""The tap ``masked``: −∞ where a key is hidden, compared as such, acted on when replaced, and no NaN behind it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import oracles
import pytest
from planting import PACKAGES, planted

import attn_ref as ar
from attn_ref import ops
from attn_ref.check.cases import Case
from attn_ref.check.compare import compare
from attn_ref.check.tolerance import ROUNDING, Truth, deviation, infinities
from attn_ref.ops.primitive import Noise
from attn_ref.port import proof
from attn_ref.tap import Tapped, apart
from attn_ref.weights import rounded, uniform

B, H, T, S = 2, 2, 3, 5
X = {
    "query": uniform((B, H, T, 4), "q"),
    "key": uniform((B, 1, S, 4), "k"),
    "value": uniform((B, 1, S, 2), "v"),
}
#: the second query sees nothing
MASK = np.array([[True, False, True, True, False], [False] * 5, [True] * 5])
INF = np.inf
ENGINES = ("torch", "tensorflow")
RULES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"attention_mask": MASK}),
    ({"causal": "top_left"}, {}),
    ({"window_left": 0}, {}),
    ({"window_right": 1}, {}),
    ({}, {"key_lengths": np.array([0, 4])}),
]


def taps_of(engine: str, block: ar.Block, inputs: dict[str, Any], **options: Any) -> dict[str, Tapped]:
    if engine == "reference":
        with ar.replace({n: v.value for n, v in options.get("replace", {}).items()}) as taps:
            output = block(block.init(), **inputs)
        return {**taps, "output": Tapped(output, "")}
    backend = ar.backend(engine)
    run = backend.run(backend.load(backend.build(block), block.init()), inputs, **options)
    return {**run.taps, "output": Tapped(run.output, "")}


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
def test_the_tap_is_there_exactly_when_a_rule_is_in_force(engine: str) -> None:
    assert "masked" not in taps_of(engine, ar.ScaledDotProductAttention(), X)
    assert "masked" not in taps_of(engine, ar.ScaledDotProductAttention(), {**X, "query_offset": np.array([1, 0])})
    for fields, more in RULES:
        taps = taps_of(engine, ar.ScaledDotProductAttention(softcap=2.0, **fields), {**X, **more, "bias": np.ones(())})
        order = [name for name in taps if name in ("scores", "capped", "biased", "masked", "weights")]
        assert order == ["scores", "capped", "biased", "masked", "weights"], fields
        assert taps["masked"].labels == taps["scores"].labels


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
def test_its_value(engine: str) -> None:
    """The scores where the oracle's keys may be seen, −∞ elsewhere."""
    for fields, more in RULES:
        taps = taps_of(engine, ar.ScaledDotProductAttention(**fields), {**X, **more})
        masked, scores = taps["masked"].value, taps["scores"].value
        lengths = more.get("key_lengths", [None] * B)
        for b, h, i, j in np.ndindex(B, H, T, S):
            seen = oracles.visible(i, j, T, S, length=lengths[b], **fields)
            seen = seen and bool(more["attention_mask"][i, j] if "attention_mask" in more else True)
            assert masked[b, h, i, j] == (scores[b, h, i, j] if seen else -INF)


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize("sinks", [None, np.array([0.5, -1.0])], ids=["plain", "sinks"])
def test_what_is_put_there_acts(engine: str, sinks: Any) -> None:
    """Weights follow from it, whatever the mask said: a row of −∞ alone gives zeros."""
    given = np.full((B, H, T, S), -INF)
    given[0, 0, 0] = [0.0, -INF, np.log(3.0), -INF, -INF]
    given[0, 0, 1, 4] = 7.0
    inputs = {**X, "attention_mask": MASK} | ({} if sinks is None else {"sinks": sinks})
    taps = taps_of(engine, ar.ScaledDotProductAttention(), inputs, replace={"masked": Tapped(given, "b h t s")})
    total = 4.0 if sinks is None else 4.0 + np.exp(0.5)
    np.testing.assert_allclose(taps["weights"].value[0, 0, 0], np.array([1, 0, 3, 0, 0]) / total, rtol=1e-14)
    alone = 1.0 if sinks is None else 1.0 / (1.0 + np.exp(0.5 - 7.0))
    np.testing.assert_allclose(taps["weights"].value[0, 0, 1], [0, 0, 0, 0, alone], rtol=1e-14)
    np.testing.assert_array_equal(taps["weights"].value[0, 0, 2], 0)
    np.testing.assert_array_equal(taps["weights"].value[1], 0)
    want = taps["weights"].value @ X["value"].repeat(H, axis=1)
    np.testing.assert_allclose(taps["output"].value, want, rtol=1e-14)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_have_no_nan_where_a_row_sees_nothing(engine: str, dtype: str) -> None:
    backend = ar.backend(engine)
    for sinks in ({}, {"sinks": rounded(np.array([0.5, -1.0]), dtype)}):
        inputs = {**{name: rounded(x, dtype) for name, x in X.items()}, "attention_mask": MASK, **sinks}
        layer = backend.build(ar.ScaledDotProductAttention(), dtype)
        run = backend.gradients(layer, inputs, rounded(uniform((B, H, T, 2), "c"), dtype))
        assert all(np.isfinite(gradient).all() for gradient in run.gradients.values())
        assert not run.gradients["tap masked"][:, :, ~MASK].any(), "a score that is −∞ does not move the output"
        assert run.gradients["tap masked"][:, :, MASK].any()


def test_the_derivative_of_the_definition_there() -> None:
    """A step at −∞ is none, and the imaginary part stays a number."""
    block, v = ar.ScaledDotProductAttention(), uniform((B, H, T, S), "v")
    _, all_of_it = ar.jvp(block, {}, {**X, "attention_mask": MASK}, dtaps={"masked": v})
    _, kept = ar.jvp(block, {}, {**X, "attention_mask": MASK}, dtaps={"masked": np.where(MASK, v, 0.0)})
    assert np.isfinite(all_of_it).all()
    assert all_of_it.any()
    np.testing.assert_array_equal(all_of_it, kept)


# comparing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "want", "error"),
    [(-INF, -INF, 0), (INF, INF, 0), (INF, -INF, INF), (-1e9, -INF, INF), (-1.7976931348623157e308, -INF, INF),
     (np.nan, -INF, INF), (-INF, 2.0, INF), (np.nan, 2.0, INF), (2.5, 2.0, 0.5)],
)  # fmt: skip
def test_infinities_are_compared_as_such(got: float, want: float, error: float) -> None:
    given, wanted = Tapped(np.array([[1.0, got]]), "t s"), Tapped(np.array([[1.0, want]]), "t s")
    assert deviation(given, wanted).tolist() == [error]
    right: Any = SimpleNamespace(taps={"masked": wanted}, unit={"masked": np.array([1e-16])})
    row = proof.compare("masked", given, right)
    assert (row.error, row.ok) == (error, error == 0)
    assert np.isfinite(row.scale)
    assert bool(infinities(given, wanted)) == (error == INF)


def test_apart_of_equal_infinities_is_0() -> None:
    np.testing.assert_array_equal(apart(np.array([INF, -INF, 3.0]), np.array([INF, -INF, 1.0])), [0, 0, 2])


def test_noise_leaves_infinities() -> None:
    x = np.array([-INF, INF, 1.0, -INF + 0j]).astype(complex)
    for unit, tiny in ((0.0, 0.0), (2.0**-8, 2.0**-24)):
        for values in (x, x.real):
            moved = Noise(unit, 0, tiny=tiny).move(values)
            np.testing.assert_array_equal(np.real(moved)[[0, 1, 3]], [-INF, INF, -INF])
            np.testing.assert_array_equal(np.imag(moved), 0)
    np.testing.assert_array_equal(ops.masked(np.array([1.0, 2.0]), np.array([True, False])), [1, -INF])


def test_masking_rounds_nothing() -> None:
    """The unit at ``masked`` is that at the tap before it, and what follows has no noise of its own from there."""
    right = Truth(ar.ScaledDotProductAttention(), {}, {**X, "attention_mask": MASK}, "float64")
    np.testing.assert_array_equal(right.unit["masked"], right.unit["scores"])
    assert np.isneginf(right.taps["masked"].value).any()
    for restart in (None, right.taps):
        again = Truth(ar.ScaledDotProductAttention(), {}, {**X, "attention_mask": MASK}, "float64", restart=restart)
        assert all(np.isfinite(unit).all() and (unit > 0).all() for unit in again.unit.values())


def test_an_infinity_anywhere_else_is_a_fault_of_the_definition() -> None:
    put = {"scores": Tapped(np.full((B, H, T, S), -INF), "b h t s")}
    with pytest.raises(FloatingPointError, match="is not finite at tap 'scores'"):
        Truth(ar.ScaledDotProductAttention(), {}, X, "float64", replace=put)
    for wrong in (INF, np.nan):
        put = {"masked": Tapped(np.full((B, H, T, S), wrong), "b h t s")}
        with pytest.raises(FloatingPointError, match="is not finite at tap 'masked'"), np.errstate(invalid="ignore"):
            Truth(ar.ScaledDotProductAttention(), {}, {**X, "attention_mask": MASK}, "float64", replace=put)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("number", "said"), [("-1e9", "−1e+09"), ("-1e30", "−1e+30")])
def test_a_finite_number_is_told_as_such(engine: str, number: str, said: str) -> None:
    shapes = {"query": (1, 1, 2, 2), "key": (1, 1, 2, 2), "value": (1, 1, 2, 2)}
    case = Case("ScaledDotProductAttention", {"causal": "top_left"}, shapes, dict.fromkeys(shapes, "plain"), 0)
    old = {"torch": "masked_fill(~keep, -torch.inf)", "tensorflow": "ops.where(keep, scores, -math.inf)"}[engine]
    new = old.replace("-torch.inf", number).replace("-math.inf", number)
    with planted(f"{PACKAGES[engine]}.blocks.scaled_dot_product_attention", old, new):
        outcome = compare(ar.backend(engine), case, "float64")
    assert outcome.first == "masked"
    assert outcome.detail == (f"{said} at (0, 0, 0, 1), where the definition has −∞; such are 1 of 4 values")


# windows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize(("t", "s"), [(5, 2), (2, 5), (3, 3)])
def test_windows_without_causal_whose_queries_stand_before_key_0(engine: str, t: int, s: int) -> None:
    """Aligned at the bottom right, or anywhere: each weight is the oracle's."""
    x = {"query": uniform((2, 2, t, 3), 1), "key": uniform((2, 1, s, 3), 2), "value": uniform((2, 1, s, 2), 3)}
    for left, right in ((0, None), (2, None), (None, 0), (1, 1), (4, 2)):
        block = ar.ScaledDotProductAttention(window_left=left, window_right=right)
        for offset in ([s - t, s - t], [-t, s], [-1, 0]):
            given = {**x, "query_offset": np.array(offset)}
            plain = {name: value.tolist() for name, value in given.items()}
            want = oracles.scaled_dot_product_attention({}, **plain, window_left=left, window_right=right)
            np.testing.assert_allclose(taps_of(engine, block, given)["output"].value, want, atol=1e-14)
            if engine != "reference":
                fused = ar.backend(engine).run(ar.backend(engine).build(block), given, observe=False).output
                np.testing.assert_allclose(fused, want, atol=1e-14)
