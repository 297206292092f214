"""Evidence of ``ConvStem``: a scalar loop, faults that must be caught, and torch's own convolutions."""

from __future__ import annotations

import numpy as np
import pytest
from evidence import Fault
from oracles_models import conv_stem as oracle

import attn_ref as ar

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 25
FAULTS = [
    Fault(
        "nothing between the convolutions",
        "first_active",
        torch=('tap("first_active", F.gelu(x), "b c N")', 'tap("first_active", x, "b c N")'),
        reference=('tap("first_active", ops.gelu(x), "b N c")', 'tap("first_active", x, "b N c")'),
        keras=('tap("first_active", self.gelu(x), "b N c")', 'tap("first_active", x, "b N c")'),
    ),
    Fault(
        "zeros behind the frames alone",
        "first",
        torch=(
            "self.first(x)",
            "self.first(F.pad(x, (0, 2 * self.first.padding[0])))[..., self.first.padding[0] :][..., : x.shape[2]]",
        ),
        keras=("((0, 0), (self.side, self.side), (0, 0))", "((0, 0), (0, 2 * self.side), (0, 0))"),
    ),
    Fault(
        "frames backwards",
        "first",
        torch=("self.first(x)", "self.first(x.flip(2))"),
        reference=('ops.conv(x, w["first.kernel"]', 'ops.conv(x[:, ::-1], w["first.kernel"]'),
        keras=("self.first(self.around(x))", "self.first(self.around(ops.flip(x, 1)))"),
    ),
]


@pytest.mark.parametrize(("frames", "stride", "left"), [(6, 2, 3), (7, 2, 4), (1, 2, 1), (7, 3, 3), (5, 1, 5)])
def test_so_many_frames_are_left(frames: int, stride: int, left: int) -> None:
    block = ar.ConvStem(channels=2, width=8, stride=stride)
    assert block(block.init(), np.ones((1, frames, 2))).shape == (1, left, 8)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size should be odd, so that kernel_size // 2 pads both sides alike"):
        ar.ConvStem(channels=2, width=8, kernel_size=4)
