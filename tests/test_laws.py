"""Laws that attention obeys whatever its weights: they hold in the reference, and in the torch and TensorFlow mirrors.

A law compares an implementation with itself, so it needs no expected values; each also asserts that something changed
where it should, so that it cannot hold by doing nothing. Hypothesis draws shapes and seeds, not elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attn_ref as ar
from attn_ref.backend import Run
from attn_ref.weights import uniform

TOLERANCE = 1e-13  # of the largest value
Law = Callable[..., Run]

seeds = st.integers(0, 2**16)
sizes = st.sampled_from([1, 2, 3, 5, 7])


@cache
def backend(engine: str) -> Any:
    return ar.backend(engine)


@lru_cache(maxsize=64)
def mirror(engine: str, block: Any) -> Any:
    """Built once per block: building is most of a mirror's time. Weights are loaded anew by every call."""
    return backend(engine).build(block, "float64")


@pytest.fixture(params=["reference", "torch", "tensorflow"], scope="module")
def run(request: pytest.FixtureRequest) -> Law:
    """``run(block, weights, observe=…, **inputs)`` → Run, by the reference or by a mirror."""
    engine = request.param

    def reference(block: Any, weights: Mapping[str, Any], *, observe: bool = True, **inputs: Any) -> Run:
        with ar.record() as taps:
            return Run(block(weights, **inputs), taps)

    def mirrored(block: Any, weights: Mapping[str, Any], *, observe: bool = True, **inputs: Any) -> Run:
        layer = backend(engine).load(mirror(engine, block), weights)
        return backend(engine).run(layer, {k: v for k, v in inputs.items() if v is not None}, observe=observe)

    return reference if engine == "reference" else mirrored


def real(seed: int, name: str, *shape: int) -> np.ndarray:
    """Seeded values in (−1, 1)."""
    return uniform(shape, seed, name)


def coin(seed: int, *shape: int) -> np.ndarray:
    """Seeded booleans, half of them True."""
    return uniform(shape, seed, "mask") > 0


def assert_same(actual: np.ndarray, expected: np.ndarray, law: str) -> None:
    """Equal up to rounding, relative to the largest value; NaN is never equal."""
    assert actual.shape == expected.shape
    error = np.abs(actual - expected).max(initial=0.0)
    assert error <= TOLERANCE * max(1.0, np.abs(expected).max(initial=0.0)), f"{law}: differs by {error:.3g}"


def assert_differs(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Not equal, by far more than rounding: a law of sameness is only worth something if the rest can change."""
    assert np.abs(actual - expected).max() > 1e-9, f"{what} changed nothing"


def qkv(seed: int, b: int, g: int, r: int, t: int, s: int) -> dict[str, np.ndarray]:
    """Inputs of ScaledDotProductAttention. The value's width is the key's or not: some engines fuse equal ones only."""
    shapes = {"query": (b, g * r, t, 5), "key": (b, g, s, 5), "value": (b, g, s, 5 if seed % 2 else 3)}
    return {name: real(seed, name, *shape) for name, shape in shapes.items()}


# keys and queries -----------------------------------------------------------------------------------------------------


@given(seed=seeds, t=sizes, s=st.integers(2, 7), observe=st.booleans())
def test_key_order_does_not_matter(run: Law, seed: int, t: int, s: int, observe: bool) -> None:
    """Keys, values, mask and bias in another order give the same; values alone in another order do not."""
    block = ar.MultiHeadAttention(width=6, num_heads=2, key_width=5)
    w = block.init(seed)
    query, key, value = (real(seed, name, 2, n, c) for name, n, c in (("q", t, 6), ("k", s, 5), ("v", s, 5)))
    mask, bias = coin(seed, 2, 2, t, s), real(seed, "bias", 1, 1, t, s)
    mask[..., 0] = mask[..., 1] = True  # at least two keys, so that their order could matter
    order = np.roll(np.arange(s), 1 + seed % (s - 1))
    plain = run(block, w, observe=observe, query=query, key=key, value=value, attention_mask=mask, bias=bias)
    moved = run(
        block, w, observe=observe, query=query, key=key[:, order], value=value[:, order],
        attention_mask=mask[..., order], bias=bias[..., order],
    )  # fmt: skip
    assert_same(moved.output, plain.output, "key permutation")
    mixed = run(block, w, observe=observe, query=query, key=key, value=value[:, order], attention_mask=mask, bias=bias)
    assert_differs(mixed.output, plain.output, "another order of values alone")


@given(seed=seeds, b=st.integers(2, 3), t=sizes, observe=st.booleans())
def test_batch_elements_do_not_meet(run: Law, seed: int, b: int, t: int, observe: bool) -> None:
    """One element alone gives what it gives in company."""
    block = ar.EncoderLayer(width=6, num_heads=2, hidden_width=5, norm_first=bool(seed % 2))
    w, x, mask = block.init(seed), real(seed, "x", b, t, 6), coin(seed, b, 2, t, t)
    together = run(block, w, observe=observe, x=x, attention_mask=mask).output
    for i in range(b):
        alone = run(block, w, observe=observe, x=x[i : i + 1], attention_mask=mask[i : i + 1]).output
        assert_same(alone, together[i : i + 1], f"batch element {i}")
    assert_differs(together[:1], together[1:2], "another batch element")


# causality ------------------------------------------------------------------------------------------------------------


@given(
    seed=seeds,
    t=sizes,
    s=st.integers(2, 7),
    causal=st.sampled_from(["top_left", "bottom_right"]),
    observe=st.booleans(),
)
def test_the_future_changes_nothing(run: Law, seed: int, t: int, s: int, causal: str, observe: bool) -> None:
    """Other keys and values from ``cut`` on leave alone the queries that see none of them, and no other."""
    block, given_, cut = ar.ScaledDotProductAttention(causal=causal), qkv(seed, 2, 1, 2, t, s), 1 + seed % (s - 1)
    other = {name: x.copy() for name, x in given_.items()}
    for name in ("key", "value"):
        other[name][:, :, cut:] = real(seed + 1, name, *other[name][:, :, cut:].shape)
    plain, changed = (run(block, {}, observe=observe, **x).output for x in (given_, other))
    last = [i if causal == "top_left" else i + s - t for i in range(t)]  # the last key that query i sees
    for i in range(t):
        if last[i] < cut:
            assert_same(changed[:, :, i], plain[:, :, i], f"{causal}: query {i} of {t}, keys {cut}… of {s}")
        else:
            assert_differs(
                changed[:, :, i], plain[:, :, i], f"{causal}: what query {i} of {t} sees, keys {cut}… of {s}"
            )


@given(seed=seeds, s=st.integers(2, 7), data=st.data(), grouped=st.booleans(), observe=st.booleans())
def test_cache_is_the_full_pass(run: Law, seed: int, s: int, data: Any, grouped: bool, observe: bool) -> None:
    """The last n queries against all keys, bottom right, are the last n rows of the full causal pass."""
    n = data.draw(st.integers(1, s - 1), label="n")
    given_ = qkv(seed, 2, 2 if grouped else 4, 2 if grouped else 1, s, s)
    bottom, top = (ar.ScaledDotProductAttention(causal=causal) for causal in ("bottom_right", "top_left"))
    full = run(top, {}, observe=observe, **given_).output
    assert_same(run(bottom, {}, observe=observe, **given_).output, full, "both alignments at t = s")
    last = given_ | {"query": given_["query"][:, :, s - n :]}
    assert_same(run(bottom, {}, observe=observe, **last).output, full[:, :, s - n :], f"the last {n} of {s}")
    assert_differs(run(top, {}, observe=observe, **last).output, full[:, :, s - n :], "top left at t ≠ s")


@given(seed=seeds, s=st.integers(2, 5), observe=st.booleans())
def test_a_decoder_step_is_the_last_row(run: Law, seed: int, s: int, observe: bool) -> None:
    """The same for a whole multi-head attention: one new token against its past and itself."""
    block, x = ar.MultiHeadAttention(width=6, num_heads=2, causal="bottom_right"), real(seed, "x", 2, s, 6)
    w = block.init(seed)
    full = run(block, w, observe=observe, query=x).output
    step = run(block, w, observe=observe, query=x[:, -1:], key=x).output
    assert_same(step, full[:, -1:], "decoder step")


# grouped heads --------------------------------------------------------------------------------------------------------


def repeated(w: Mapping[str, np.ndarray], groups: int, r: int) -> dict[str, np.ndarray]:
    """Grouped weights as those of as many key heads as query heads: each key head's columns r times in a row."""
    out = dict(w)
    for name in ("key.kernel", "key.bias", "value.kernel", "value.bias"):
        heads = np.split(w[name], groups, axis=-1)
        out[name] = np.concatenate([head for head in heads for _ in range(r)], axis=-1)
    return out


@given(seed=seeds, shape=st.sampled_from([(1, 4), (2, 2), (2, 3), (4, 1)]), t=sizes, s=sizes, observe=st.booleans())
def test_grouped_is_multi_head_with_repeated_heads(
    run: Law, seed: int, shape: tuple[int, int], t: int, s: int, observe: bool
) -> None:
    """One key head (multi-query), some, or all of them: head i reads key head i // r."""
    groups, r = shape
    fields = {"width": 7, "num_heads": groups * r, "head_width": 3, "value_head_width": 5}
    grouped, full = ar.MultiHeadAttention(**fields, num_kv_heads=groups), ar.MultiHeadAttention(**fields)
    w, query, key = grouped.init(seed), real(seed, "q", 2, t, 7), real(seed, "k", 2, s, 7)
    mask = coin(seed, 2, groups * r, t, s)
    for given_ in ({"query": query, "key": key}, {"query": query, "key": key, "attention_mask": mask}):
        y = run(grouped, w, observe=observe, **given_).output
        assert_same(
            run(full, repeated(w, groups, r), observe=observe, **given_).output, y, f"{groups} key heads of {r}"
        )


@given(seed=seeds, g=st.integers(1, 3), r=st.integers(1, 3), t=sizes, s=sizes, observe=st.booleans())
def test_heads_do_not_meet(run: Law, seed: int, g: int, r: int, t: int, s: int, observe: bool) -> None:
    """Query head i with key head i // r alone is head i of them all."""
    block, given_ = ar.ScaledDotProductAttention(causal="bottom_right"), qkv(seed, 2, g, r, t, s)
    mask, bias = coin(seed, 2, g * r, t, s), real(seed, "bias", g * r, t, s)
    together = run(block, {}, observe=observe, **given_, attention_mask=mask, bias=bias).output
    for i in range(g * r):
        own = {name: x[:, [i if name == "query" else i // r]] for name, x in given_.items()}
        alone = run(block, {}, observe=observe, **own, attention_mask=mask[:, [i]], bias=bias[[i]]).output
        assert_same(alone, together[:, [i]], f"head {i} of {g}·{r}")


# weights --------------------------------------------------------------------------------------------------------------


@given(seed=seeds, t=sizes, s=sizes, causal=st.sampled_from([None, "top_left", "bottom_right"]))
def test_weights_are_shares_of_what_may_be_attended_to(run: Law, seed: int, t: int, s: int, causal: str | None) -> None:
    """Zero on masked keys, a sum of 1 in every row, and 0 where nothing is left: then the context is zero too.

    Fused calls show no weights; but looking at them must not change what comes out.
    """
    block, mask = ar.MultiHeadAttention(width=6, num_heads=2, causal=causal), coin(seed, 2, 2, t, s)
    mask[0, 1, 0] = mask[1, :, -1] = False
    w, query, key = block.init(seed), real(seed, "q", 2, t, 6), real(seed, "k", 2, s, 6)
    seen = run(block, w, query=query, key=key, attention_mask=mask)
    weights, context = (in_order(seen.taps[f"attention.{name}"], "b h t") for name in ("weights", "context"))
    allowed = mask if causal is None else mask & np.tri(t, s, 0 if causal == "top_left" else s - t, dtype=bool)
    assert weights.shape == (2, 2, t, s)
    assert (weights[~allowed] == 0).all()
    assert (weights[allowed] > 0).all()
    assert_same(weights.sum(-1), allowed.any(-1).astype(float), "sum of weights")
    assert (context[~allowed.any(-1)] == 0).all()

    unseen = run(block, w, observe=False, query=query, key=key, attention_mask=mask)
    assert not unseen.taps or run.__name__ == "reference"
    assert_same(unseen.output, seen.output, "observing")
    assert (unseen.output[1, -1] == w["project.bias"]).all()


def in_order(tapped: ar.Tapped, first: str) -> np.ndarray:
    """A tap's array with the axes ``first`` in front, in that order."""
    labels = tapped.labels.split()
    return np.moveaxis(tapped.value, [labels.index(label) for label in first.split()], range(len(first.split())))


@given(seed=seeds, t=sizes, s=st.integers(2, 7), size=st.sampled_from([1.0, 30.0]), observe=st.booleans())
def test_a_constant_on_all_scores_changes_nothing(
    run: Law, seed: int, t: int, s: int, size: float, observe: bool
) -> None:
    """softmax(z + c) = softmax(z), c any number of a query's own; not so a number of a key's own."""
    block, given_ = ar.ScaledDotProductAttention(), qkv(seed, 2, 2, 1, t, s)
    mask = coin(seed, 2, 2, t, s)
    mask[..., :2] = True
    plain = run(block, {}, observe=observe, **given_, attention_mask=mask).output
    per_query = size * uniform((2, 2, t, 1), seed, "constant")
    for constant in (np.array(size), per_query, np.broadcast_to(per_query, (2, 2, t, s)).copy()):
        shifted = run(block, {}, observe=observe, **given_, attention_mask=mask, bias=constant).output
        assert np.abs(shifted - plain).max() <= 30 * TOLERANCE, "a constant on all scores"
    per_key = run(block, {}, observe=observe, **given_, attention_mask=mask, bias=np.arange(s, dtype=float)).output
    assert_differs(per_key, plain, "a bias of the key")


# padding --------------------------------------------------------------------------------------------------------------


@given(
    seed=seeds,
    length=st.integers(1, 4),
    padding=st.integers(1, 3),
    pooling=st.sampled_from(["none", "mean", "pooler"]),
    observe=st.booleans(),
)
def test_padding_changes_nothing(run: Law, seed: int, length: int, padding: int, pooling: str, observe: bool) -> None:
    """Real tokens give the same without padding and with any amount and content of it."""
    block = ar.TextEncoder(
        vocab_size=11, max_length=7, num_segments=2, width=6, num_layers=2, num_heads=2, hidden_width=5,
        pooler=pooling == "pooler", pooling=pooling,
    )  # fmt: skip
    w = block.init(seed)
    ids = ((uniform((2, length + padding), seed, "ids") + 1) / 2 * 11).astype(int)
    segments = (uniform(ids.shape, seed, "segments") > 0).astype(int)
    mask = np.arange(length + padding) < np.full((2, 1), length)
    bare = run(block, w, observe=observe, token_ids=ids[:, :length], segment_ids=segments[:, :length]).output

    def padded(content: int, **more: Any) -> np.ndarray:
        tokens = np.where(mask, ids, (ids + content) % 11)
        y = run(block, w, observe=observe, token_ids=tokens, segment_ids=segments, **more).output
        return y[:, :length] if pooling == "none" else y

    for content in (0, 1, 5):
        assert_same(padded(content, padding_mask=mask), bare, f"{padding} tokens of padding, {pooling}")
    assert_differs(padded(0), bare, "padding that is not masked")
