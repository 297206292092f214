"""What a layer's further arguments mean, found by trying: masks of any rank, dtype and polarity, biases, lost rows."""

from __future__ import annotations

from typing import Any

import pytest

import attn_ref as ar

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

WIDTH, HEADS = 12, 3
#: what a mask's values mean to a layer -> whether a place is kept
KEPT = {
    "True keeps": lambda m: m.bool(),
    "True drops": lambda m: ~m,
    "1 keeps": lambda m: m == 1,
    "1 drops": lambda m: m == 0,
}
#: its axes -> the scores' axes
LAID = {
    "b, 1, t, s": lambda m: m, "b, t, s": lambda m: m[:, None], "t, s": lambda m: m[None, None],
    "b, s": lambda m: m[:, None, None], "b·h, t, s": lambda m: m.unflatten(0, (-1, HEADS)),
}  # fmt: skip


class Masked(nn.Module):
    """Self-attention that reads its mask in one way."""

    def __init__(
        self,
        axes: str = "b, s",
        values: str = "True keeps",
        low: float = -torch.inf,
        fault: str = "",
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.axes, self.values, self.low, self.fault, self.causal = axes, values, low, fault, causal
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (y.view(b, t, HEADS, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        past = torch.ones(t, t, dtype=torch.bool).tril()
        if self.causal and not (self.fault == "causal lost beside the mask" and mask is not None):
            scores = scores.masked_fill(~past, -torch.inf)
        if mask is not None and self.fault != "mask forgotten":
            if self.values == "added":
                scores = scores + LAID[self.axes](mask)
            else:
                if self.axes == "b, s" and mask.shape != (b, t):
                    raise ValueError(f"mask is (b, s); got {tuple(mask.shape)}")
                if self.values.startswith("True") and mask.dtype != torch.bool:
                    raise ValueError(f"mask is bool; got {mask.dtype}")
                if self.values.startswith("1") and mask.dtype == torch.bool:
                    raise ValueError("mask is of numbers; got bool")
                keep = LAID[self.axes](KEPT[self.values](mask))
                if self.fault == "mask over queries":
                    keep = keep.transpose(-1, -2)
                scores = scores.masked_fill(~keep, self.low)
        weights = scores.softmax(-1)
        if self.fault == "lost rows are zeros":
            weights = weights.nan_to_num(0.0)
        y = self.out((weights @ v).transpose(1, 2).reshape(b, t, -1))
        return y * KEPT[self.values](mask)[..., None] if self.fault == "padding zeroed" and mask is not None else y


def verdict_of(layer: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return ar.conform(layer, ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, **options), cases=9)


@pytest.mark.parametrize("axes", LAID)
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("True keeps", "True means keep"), ("True drops", "True means drop"), ("1 keeps", "1 means keep"),
        ("1 drops", "1 means drop"), ("added", "0 means keep, −∞ drop: it is added"),
    ],
)  # fmt: skip
def test_a_mask_of_any_axes_and_polarity_is_understood(axes: str, values: str, says: str) -> None:
    verdict = verdict_of(Masked(axes, values))
    assert verdict.ok, str(verdict)
    assert f"mask: attention_mask ({axes}), {says}" in verdict.masks
    assert (f"mask: bias ({axes}), it is added" in verdict.masks) == (values == "added")


@pytest.mark.parametrize(
    ("low", "fault", "says"),
    [
        (-torch.inf, "", "gives NaN"), (-1e9, "", "gives the mean of all values"),
        (-torch.inf, "lost rows are zeros", "gives zeros as its weights, as the block does"),
    ],
)  # fmt: skip
def test_a_query_with_nothing_to_attend_to_is_told(low: float, fault: str, says: str) -> None:
    verdict = verdict_of(Masked("b, t, s", low=low, fault=fault))
    assert verdict.ok, str(verdict)
    assert [note for note in verdict.notes if "nothing to attend" in note] == [
        f"a query with nothing to attend to {says}"
    ]


def test_outputs_of_padding_are_the_layers_own_business() -> None:
    verdict = verdict_of(Masked("b, s", fault="padding zeroed"))
    assert verdict.ok, str(verdict)
    assert "the outputs of padded tokens are not the block's; they are not compared" in verdict.notes


def test_a_mask_that_must_be_given() -> None:
    class Must(Masked):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x, attention_mask.clone())

    verdict = verdict_of(Must("b, 1, t, s", "1 keeps"))
    assert verdict.ok, str(verdict)
    assert verdict.masks == ["attention_mask: attention_mask (b, 1, t, s), 1 means keep"]


@pytest.mark.parametrize(
    ("fault", "causal", "tap"),
    [
        ("causal lost beside the mask", True, "attention.masked"), ("mask forgotten", False, "attention.masked"),
        ("mask over queries", False, "attention.masked"),
    ],
)  # fmt: skip
def test_a_fault_behind_a_mask_is_found(fault: str, causal: bool, tap: str) -> None:
    verdict = verdict_of(Masked("b, t, s", fault=fault, causal=causal), causal="top_left" if causal else None)
    assert not verdict.ok
    assert verdict.first == tap, str(verdict)
    assert "attention_mask" in verdict.case
    assert verdict.line is not None
    assert verdict.line.startswith(__file__)


class Sagan(nn.Module):
    """Self-attention over pixels behind a gate that starts at 0."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.query, self.key, self.value = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(8, 8, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).flatten(2) for f in (self.query, self.key, self.value))
        weights = (q.transpose(1, 2) @ k).softmax(1 if self.fault else -1)
        return self.gamma * (v @ weights.transpose(1, 2)).view_as(x) + x


def test_a_gate_of_zero_hides_nothing() -> None:
    """A copy runs, in which it is not 0; the layer stays as it is."""
    block = ar.SpatialSelfAttention(channels=8, head_width=2)
    right, wrong = Sagan(), Sagan("softmax over queries")
    verdict = ar.conform(right, block, cases=3)
    assert verdict.ok, str(verdict)
    assert verdict.wiring["gate"] == "gamma"
    verdict = ar.conform(wrong, block, cases=3)
    assert (verdict.first, verdict.trap) == ("weights", "softmax-over-queries"), str(verdict)
    assert wrong.gamma.item() == 0.0
