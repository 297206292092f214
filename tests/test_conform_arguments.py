"""What a layer must be given, and what it may be: lengths, biases, offsets, angles, windows, several at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attn_ref as ar

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

WIDTH, HEADS, DEPTH = 12, 3, 4
BLOCK = ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS)


class Heads(nn.Module):
    """Projections and heads; what stands between is for those that come after."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fault = fault
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def split(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        made = (f(z).unflatten(-1, (HEADS, DEPTH)).transpose(1, 2) for f, z in ((self.q, x), (self.k, y), (self.v, y)))
        return tuple(made)  # type: ignore[return-value]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        scores = q @ k.transpose(-1, -2) / DEPTH**0.5
        scores = scores if bias is None else scores + bias
        scores = scores if keep is None else scores.masked_fill(~keep, -1e30)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Lengths(Heads):
    """It may be given lengths."""

    def forward(self, x: Tensor, x_lens: Tensor | None = None) -> Tensor:
        keep = None
        if x_lens is not None:
            more = 1 if self.fault else 0
            keep = (torch.arange(x.shape[1]) < x_lens[:, None] + more)[:, None, None]
        return self.attend(*self.split(x, x), keep)


class Decoding(Heads):
    """Causal attention to keys that came before, by where the first query stands."""

    def forward(self, x: Tensor, memory: Tensor, start_pos: int) -> Tensor:
        first = -start_pos if self.fault else start_pos
        keep = torch.arange(memory.shape[1]) <= torch.arange(x.shape[1])[:, None] + first
        return self.attend(*self.split(x, memory), keep)


class Placed(Heads):
    """The same by the position of each query."""

    def forward(self, x: Tensor, memory: Tensor, cache_position: Tensor | None = None) -> Tensor:
        if cache_position is None:
            cache_position = torch.arange(x.shape[1])
        return self.attend(*self.split(x, memory), torch.arange(memory.shape[1]) <= cache_position[:, None])


class Everything(Heads):
    """It must be given a mask, a bias and lengths."""

    def forward(self, x: Tensor, alibi: Tensor, seen: Tensor, n_valid: Tensor) -> Tensor:
        h, t, _ = alibi.shape
        keep = (torch.arange(t) < n_valid[:, None])[:, None, None] & (seen[:, None] == 0)
        return self.attend(*self.split(x, x), keep, alibi.view(1, h, t, -1))


class Turned(Heads):
    """Rotary angles come from outside, as cosines and sines of one number a pair, beside a mask."""

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        def turn(y: Tensor) -> Tensor:
            a, b = y.chunk(2, -1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

        q, k, v = self.split(x, x)
        return self.attend(turn(q), k if self.fault else turn(k), v, mask)


class Complex(Heads):
    """Neighbours turn as complex numbers, which come from outside."""

    def forward(self, x: Tensor, freqs_cis: Tensor) -> Tensor:
        def turn(y: Tensor) -> Tensor:
            pairs = torch.view_as_complex(y.unflatten(-1, (-1, 2)).contiguous())
            return torch.view_as_real(pairs * freqs_cis).flatten(-2)

        q, k, v = self.split(x, x)
        return self.attend(turn(q), turn(k), v)


class Windowed(Heads):
    """How far it sees back is said when it is called."""

    def forward(self, x: Tensor, window: int | None = None) -> Tensor:
        far = torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])
        return self.attend(*self.split(x, x), (far >= 0) & (far < window) if window else None)


class Unused(Heads):
    """It must be given a mask, and makes nothing of it."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attend(*self.split(x, x), torch.ones_like(mask))


class Masked(Heads):
    """It reads all of a mask."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attend(*self.split(x, x), mask)


class LastQuery(Heads):
    """It takes a mask for every query, and reads the last one's."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attend(*self.split(x, x), mask[:, :, -1:])


class Positions(Heads):
    """Queries and keys turn by positions that it is given: from where they are counted changes nothing."""

    def forward(self, x: Tensor, position_ids: Tensor) -> Tensor:
        angles = position_ids[:, None, :, None] * 10000.0 ** (-torch.arange(0, DEPTH, 2) / DEPTH)
        cos, sin = angles.cos(), angles.sin()

        def turn(y: Tensor) -> Tensor:
            a, b = y.chunk(2, -1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

        q, k, v = self.split(x, x)
        return self.attend(turn(q), turn(k), v)


class Encoder(nn.Module):
    """A layer that is given lengths, where the block has only masks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.layer(x, src_key_padding_mask=torch.arange(x.shape[1]) >= lengths[:, None])


def block(**options: Any) -> Any:
    return ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, **options)


@pytest.mark.parametrize(
    ("layer", "options", "takes"),
    [
        (Lengths, {}, ["x_lens: key_lengths (b), how many keys there are"]),
        (Decoding, {"causal": "top_left"},
         ["start_pos: query_offset (one number), how many keys come before the first query"]),
        (Placed, {"causal": "top_left"}, ["cache_position: query_offset (t), where the queries stand among the keys"]),
        (Everything, {}, [
            "alibi: bias (h, t, s), it is added", "seen: attention_mask (b, t, s), True means drop",
            "n_valid: key_lengths (b), how many keys there are",
        ]),
        (Turned, {"rotary": "half"}, ["mask: attention_mask (b, 1, t, s), True means keep"]),
        (Complex, {"rotary": "interleaved"}, []),
        (Windowed, {"causal": "top_left", "window_left": 3}, []),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_it_is_found_how_a_layer_is_called(layer: Any, options: dict[str, Any], takes: list[str]) -> None:
    verdict = ar.conform(layer(), block(**options), cases=9)
    assert verdict.ok, str(verdict)
    assert verdict.masks == takes


def test_positions_that_shift_both_are_given() -> None:
    verdict = ar.conform(Positions(), block(rotary="half"), cases=4)
    assert verdict.ok, str(verdict)
    assert verdict.call == "layer(query), position_ids always given"
    assert verdict.masks == []
    assert "position_ids is given query_offset that changes nothing: what it means was not found" in verdict.notes


def test_lengths_are_a_mask_where_the_block_has_no_lengths() -> None:
    verdict = ar.conform(
        Encoder(), ar.EncoderLayer(width=WIDTH, num_heads=HEADS, hidden_width=20, activation="relu"), cases=4
    )
    assert verdict.ok, str(verdict)
    assert verdict.masks == ["lengths: attention_mask (b), how many keys there are"]


@pytest.mark.parametrize(
    ("layer", "options", "tap", "given"),
    [
        (Lengths, {}, "attention.masked", "key_lengths"),
        (Unused, {}, "attention.masked", "attention_mask"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_a_fault_behind_such_an_argument_is_found(layer: Any, options: dict[str, Any], tap: str, given: str) -> None:
    verdict = ar.conform(layer("wrong"), block(**options), cases=9)
    assert not verdict.ok
    assert verdict.first == tap, str(verdict)
    assert given in verdict.case
    assert verdict.line is not None
    assert verdict.line.startswith(__file__)


def test_a_form_of_a_mask_that_is_misread_is_told() -> None:
    verdict = ar.conform(LastQuery(), block(), cases=4)
    assert verdict.masks == ["mask: attention_mask (b, 1, 1, s), True means keep"]
    (note,) = [note for note in verdict.notes if "also taken" in note]
    assert note.startswith("mask is also taken as (b, 1, t, s)")
    assert "of which the last query counts for all" in note
    assert not [note for note in ar.conform(Masked(), block(), cases=4).notes if "also taken" in note]


def test_a_number_that_is_an_option_of_the_block() -> None:
    random = np.random.default_rng(0)
    q_w, k_w, v_w, out_w = (random.normal(size=(WIDTH, WIDTH)) for _ in range(4))

    def attention(x: Any, n_head: int, mask: Any) -> Any:
        q, k, v = (np.stack(np.split(x @ w, n_head, -1), 1) for w in (q_w, k_w, v_w))
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + mask
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y = (weights / weights.sum(-1, keepdims=True)) @ v
        return y.transpose(0, 2, 1, 3).reshape(x.shape) @ out_w

    verdict = ar.conform(attention, block(use_bias=False, output_bias=False), cases=4)
    assert verdict.ok, str(verdict)
    assert verdict.call == "layer(query), n_head=3, mask always given"
    assert verdict.masks[0] == "mask: attention_mask (b, 1, t, s), 0 means keep, −∞ drop: it is added"
