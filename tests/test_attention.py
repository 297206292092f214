"""Attention maps from taps: closed forms for rollout, the patch grid, and the same from every implementation."""

from __future__ import annotations

import numpy as np
import pytest

import attn_ref as ar
from attn_ref.attention import mean_over_heads, patch_grid, rollout, weights
from attn_ref.tap import Tapped
from attn_ref.weights import uniform

BLOCK = ar.VisionTransformer(**{**ar.VisionTransformer.example, "num_layers": 3})


def test_rollout_of_uniform_attention_has_a_closed_form() -> None:
    """A = J/n with J all ones: (A + I)/2 keeps J/n and halves the rest, so R = J/n + (I − J/n)/2ᴸ."""
    n, flat = 5, np.full((1, 2, 5, 5), 0.2)
    for layers in (1, 2, 3, 7):
        want = 1 / n + (np.eye(n) - 1 / n) / 2**layers
        np.testing.assert_allclose(rollout([flat] * layers)[0], want, rtol=0, atol=1e-15)


def test_rollout_of_a_shift_is_binomial() -> None:
    """A moves every token one on: ((A + I)/2)ᴸ is a random walk, entry k steps away C(L, k)/2ᴸ."""
    shift = np.roll(np.eye(8), 1, axis=1)[None, None]
    np.testing.assert_allclose(rollout([shift] * 3)[0, 0], [1 / 8, 3 / 8, 3 / 8, 1 / 8, 0, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(rollout([shift] * 3, residual=0.0)[0, 0], np.eye(8)[3], atol=0)


def test_rollout_multiplies_later_layers_from_the_left() -> None:
    a, b = (np.abs(uniform((1, 1, 4, 4), 1, name)) for name in "ab")
    a, b = (x / x.sum(axis=-1, keepdims=True) for x in (a, b))
    want = (0.5 * b[0, 0] + 0.5 * np.eye(4)) @ (0.5 * a[0, 0] + 0.5 * np.eye(4))
    np.testing.assert_allclose(rollout([a, b])[0], want, atol=1e-15)
    assert np.abs(rollout([b, a])[0] - want).max() > 1e-3


def test_rollout_of_rows_with_nothing_to_attend_to_is_a_share_all_the_same() -> None:
    hidden = np.zeros((1, 2, 3, 3))
    np.testing.assert_array_equal(rollout([hidden, hidden])[0], np.eye(3))


def test_patch_grid_reads_row_by_row() -> None:
    a = np.arange(7 * 7).reshape(1, 7, 7) / 49
    np.testing.assert_array_equal(patch_grid(a, (2, 3))[0], a[0, 0, 1:].reshape(2, 3))
    np.testing.assert_array_equal(patch_grid(a, (1, 7))[0], a[0].mean(axis=0)[None])
    assert patch_grid(np.zeros((4, 2, 6, 6)), (3, 2)).shape == (4, 2, 3, 2)
    with pytest.raises(ValueError, match=r"2 × 2 patches are 4 tokens, or one more with a class token; got .*\(7, 7\)"):
        patch_grid(a, (2, 2))


def test_requests_that_cannot_be_met() -> None:
    with pytest.raises(ValueError, match="no tap 'weights' of queries and keys; the taps are hidden"):
        weights({"hidden": Tapped(np.zeros(1), "b")})
    twice = {f"layers.0.{name}.attention.weights": Tapped(np.zeros((1, 1, 1, 1)), "b h t s") for name in "ab"}
    with pytest.raises(ValueError, match="a layer has several weights"):
        weights(twice)
    with pytest.raises(ValueError, match=r"as many keys as queries; got \(2, 3\)"):
        rollout([np.zeros((1, 1, 2, 3))])
    with pytest.raises(ValueError, match="layers of as many tokens each; got 2 and 3"):
        rollout([np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 3, 3))])
    with pytest.raises(ValueError, match=r"residual should be in \[0, 1\); got 1"):
        rollout([np.zeros((1, 1, 2, 2))], residual=1)
    with pytest.raises(ValueError, match="at least one layer"):
        rollout([])


def test_every_implementation_gives_the_same_maps() -> None:
    w, images = BLOCK.init(1), uniform((2, 8, 12, 3), 2, "image")
    with ar.record() as taps:
        BLOCK(w, images)
    runs = {"NumPy": taps}
    for engine in ("torch", "tensorflow"):
        backend = ar.backend(engine)
        runs[engine] = backend.run(backend.load(backend.build(BLOCK), w), {"image": images}).taps
    want = weights(taps)
    assert [layer.shape for layer in want] == [(2, 4, 7, 7)] * 3
    assert [layer.shape for layer in mean_over_heads(want)] == [(2, 7, 7)] * 3
    for name, taps in runs.items():
        np.testing.assert_allclose(rollout(weights(taps)), rollout(want), rtol=0, atol=1e-14, err_msg=name)
    np.testing.assert_allclose(rollout(want).sum(axis=-1), 1.0, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "fields", "shape"),
    [
        ("EncoderLayer", {}, [(2, 4, 5, 5)]),
        ("MultiHeadAttention2d", {"num_heads": 2}, [(2, 2, 12, 12)]),
        ("NonLocal", {}, [(2, 1, 12, 12)]),
        ("SpatialSelfAttention", {}, [(2, 1, 12, 12)]),
        ("AttentionCNN", {"stride": 1, "sub_sample": False}, [(2, 1, 12, 12)]),
    ],
)
def test_any_model_with_attention_over_places_has_maps(name: str, fields: dict, shape: list[tuple[int, ...]]) -> None:
    block = ar.block(name)(**{**ar.block(name).example, **fields})
    (given,) = [n for n, spec in block.inputs.items() if not spec.optional and not spec.default]
    axes = {"b": 2, "t": 5, "H": 3, "W": 4}
    x = uniform([axes.get(a) or block.fields()[a.strip("{}")] for a in block.inputs[given].axes], 1, "x")
    with ar.record() as taps:
        block(block.init(), x)
    maps = weights(taps)
    assert [layer.shape for layer in maps] == shape
    np.testing.assert_allclose(rollout(maps).sum(axis=-1), 1.0, rtol=0, atol=1e-13)


def test_what_does_not_attend_over_places_has_no_maps() -> None:
    block = ar.SelectiveKernel(**ar.SelectiveKernel.example)
    with ar.record() as taps:
        block(block.init(), np.ones((2, 3, 4, 8)))
    assert "weights" in taps
    with pytest.raises(ValueError, match="no tap 'weights' of queries and keys"):
        weights(taps)


def test_layers_beyond_nine_are_in_order() -> None:
    taps = {f"layers.{i}.attention.attention.weights": Tapped(np.full((1, 1, 1, 1), i), "b h t s") for i in range(12)}
    assert [int(layer.item()) for layer in weights(dict(sorted(taps.items())))] == list(range(12))


def test_drawing() -> None:
    pytest.importorskip("matplotlib")
    from attn_ref.draw import sheet

    grids = patch_grid(np.full((2, 7, 7), 1 / 7), (2, 3))
    figure = sheet(np.zeros((2, 8, 12, 1)), {"rollout": grids}, labels=["3", "8"], title="t")
    assert len(figure.axes) == 4
    drawn = figure.axes[1].images[1]
    assert drawn.get_extent() == [0, 12, 8, 0]
    np.testing.assert_allclose(drawn.get_array()[..., 3], 0.85, rtol=1e-15)  # all patches alike
