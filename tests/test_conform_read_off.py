"""What conform and identify read off a layer's numbers: windows, scales, a bias of its own, heads that are split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import attn_ref as ar

torch = pytest.importorskip("torch")
Array = Any


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def seeing(
    form: Callable[[Array, Array], Array], factor: float | None = None
) -> Callable[[Array, Array, Array], Array]:
    """Attention over split heads (b, h, t, d) in plain NumPy, in which query i sees the keys j that ``form`` says."""

    def attend(q: Array, k: Array, v: Array) -> Array:
        i, j = np.arange(q.shape[-2])[:, None], np.arange(k.shape[-2])[None]
        scale = q.shape[-1] ** -0.5 if factor is None else factor
        return softmax(np.where(form(i, j), q @ np.swapaxes(k, -1, -2) * scale, -np.inf)) @ v

    return attend


WINDOWS = [
    ("four keys behind", lambda i, j: (j <= i) & (j >= i - 3), {"causal": "top_left", "window_left": 3}),
    ("three keys", lambda i, j: (j <= i) & (j > i - 3), {"causal": "top_left", "window_left": 2}),
    ("less to the right", lambda i, j: (j > i - 3) & (j < i + 2), {"window_left": 2, "window_right": 1}),
    ("both ways", lambda i, j: abs(i - j) < 3, {"window_left": 2, "window_right": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "form", "options"), WINDOWS, ids=[name for name, *_ in WINDOWS])
def test_a_window_is_read_off(name: str, form: Any, options: dict[str, Any]) -> None:
    found = ar.identify(seeing(form), framework="numpy", cases=3)
    assert found.ok, str(found)
    assert found.block == ar.ScaledDotProductAttention(**options)


def test_conform_says_which_window_it_is() -> None:
    verdict = ar.conform(seeing(WINDOWS[2][1]), ar.ScaledDotProductAttention(), framework="numpy", cases=2)
    assert not verdict.ok
    reason = verdict.places[0].reason
    assert reason is not None
    assert dict(reason.changes) == {"window_left": 2, "window_right": 1}
    assert "--set window_left=2 --set window_right=1" in reason.fix


def test_a_scale_of_any_number_is_read_off() -> None:
    found = ar.identify(seeing(lambda i, j: j >= 0 * i, 0.37), framework="numpy", cases=3)
    assert found.ok, str(found)
    assert found.block == ar.ScaledDotProductAttention(scale=0.37)


def test_rows_with_nothing_to_attend_to_are_told_and_not_judged() -> None:
    verdict = ar.conform(seeing(WINDOWS[1][1]), ar.ScaledDotProductAttention(causal="top_left", window_left=2),
                         framework="numpy", cases=20)  # fmt: skip
    assert verdict.ok, str(verdict)
    assert "a query with nothing to attend to gives NaN" in verdict.notes


class OwnBias(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Attention with slopes of its own, or with another thing that it adds to its scores."""

    def __init__(self, more: Callable[[int, int], Any]) -> None:
        super().__init__()
        self.qkv, self.out, self.more = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16), more

    def forward(self, x: Any) -> Any:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 4, 4).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / 2 + self.more(4, t).to(x)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, 16))


def slopes(heads: int, t: int) -> Any:
    at = torch.arange(t)
    return -(2.0 ** (-8 * torch.arange(1, heads + 1) / heads))[:, None, None] * (at[:, None] - at).abs()


def waves(heads: int, t: int) -> Any:
    at = torch.arange(t)
    return torch.sin(torch.arange(1, heads + 1)[:, None, None] * (at[:, None] - at))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (slopes, "that of LinearPositionBias(num_heads=4, symmetric=True)"),
        (waves, "that depends on the distance alone"),
    ],
    ids=["slopes", "waves"],
)
def test_a_bias_of_its_own_is_read_off(more: Any, said: str) -> None:
    verdict = ar.conform(OwnBias(more), ar.MultiHeadAttention(width=16, num_heads=4), cases=3)
    assert verdict.ok, str(verdict)
    (note,) = (x for x in verdict.notes if "a bias of its own" in x)
    assert said in note
    assert "test_conform_read_off.py" in note


@pytest.mark.deep
def test_a_mask_is_no_bias_of_its_own() -> None:
    def hidden(heads: int, t: int) -> Any:
        return torch.full((t, t), -10.0).triu(1)

    for causal in (None, "top_left"):
        verdict = ar.conform(OwnBias(hidden), ar.MultiHeadAttention(width=16, num_heads=4, causal=causal), cases=3)
        assert not verdict.ok, str(verdict)


def test_distances_for_products_are_no_bias() -> None:
    class Doubled(OwnBias):
        def forward(self, x: Any) -> Any:
            b, t, _ = x.shape
            q, k, v = self.qkv(x).view(b, t, 3, 4, 4).permute(2, 0, 3, 1, 4)
            scores = q @ k.transpose(-1, -2) / 2 - (k**2).sum(-1)[:, :, None]
            return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, 16))

    verdict = ar.conform(Doubled(slopes), ar.MultiHeadAttention(width=16, num_heads=4), cases=3)
    assert not verdict.ok
    assert verdict.first == "attention.weights"  # of which products alone are a value of it


class FastVariance(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A norm whose variance is the mean of squares less the square of the mean, as flax has it."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = torch.nn.Parameter(torch.rand(12)), torch.nn.Parameter(torch.rand(12))

    def forward(self, x: Any) -> Any:
        mean = x.mean(-1, keepdim=True)
        return (x - mean) / torch.sqrt((x**2).mean(-1, keepdim=True) - mean**2 + 1e-5) * self.gamma + self.beta


def test_a_layer_that_loses_digits_is_told_so_and_is_the_block() -> None:
    verdict = ar.conform(FastVariance(), ar.LayerNorm(width=12, eps=1e-5), cases=20)
    assert verdict.ok, str(verdict)
    assert any("loses digits" in note for note in verdict.notes), verdict.notes
    plain = ar.conform(torch.nn.LayerNorm(12), ar.LayerNorm(width=12, eps=1e-5), cases=20)
    assert plain.ok
    assert not any("loses digits" in note for note in plain.notes), plain.notes
