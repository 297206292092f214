"""Evidence of ``TransformerStack``: a scalar loop, faults that must be caught where they are, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from evidence import Fault, inside
from oracles_models import transformer_stack as oracle

import attn_ref as ar
from attn_ref.blocks.transformer_stack import plain

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 25
FAULTS = [
    inside("FeedForward", "bias of the first layer dropped", "layers.0.feed_forward"),
    Fault(
        "positions from the first row of their table",
        "embedded",
        torch=("positions[before:] + self.position_offset", "positions[before:]"),
        reference=("first = self.position_offset + before", "first = before"),
        keras=("positions[before:] + self.position_offset", "positions[before:]"),
    ),
    Fault(
        "padding of the memory is read",
        "layers.0.cross_attention.attention.masked",
        torch=("memory_mask[:, None, None, :]", "torch.ones_like(memory_mask)[:, None, None, :]"),
        reference=("memory_mask[:, None, None, :]", "np.ones_like(memory_mask)[:, None, None, :]"),
        keras=("memory_mask[:, None, None, :]", "ops.ones_like(memory_mask)[:, None, None, :]"),
    ),
    Fault(
        "a bias of the other side",
        "layers.0.attention.attention.biased",
        torch=("self.position_bias(positions[before:], positions)[None]",
               "self.position_bias(positions[before:], positions)[None].transpose(2, 3)"),
        reference=("in_precision(bias, x)[None]", "in_precision(bias, x)[None].swapaxes(2, 3)"),
        keras=("self.position_bias(positions[before:], positions)[None]",
               "ops.swapaxes(self.position_bias(positions[before:], positions)[None], 2, 3)"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 9}, "layer should have width = 9"),
        ({"embedding_norm": ar.RMSNorm(width=9)}, r"embedding_norm should have width = 8; got RMSNorm\(width=9\)"),
        ({"position_bias": ar.RelativePositionBias(num_heads=3)}, "as many heads as position_bias"),
        ({"position_offset": 2}, "position_offset needs max_length, which is None"),
        ({"layer": ar.RMSNorm(width=8)}, "layer should be a block whose role is layer, such as TransformerLayer"),
    ],
)
def test_a_stack_that_does_not_fit_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ar.TransformerStack(**{**ar.TransformerStack.example, **options})


def test_a_stack_has_a_memory_if_its_layers_read_one() -> None:
    assert "memory" not in ar.TransformerStack(**ar.TransformerStack.example).inputs
    crossing = replace(ar.TransformerStack(**ar.TransformerStack.example), layer=plain(crosses=True))
    assert {"memory", "memory_mask"} <= set(crossing.inputs)
