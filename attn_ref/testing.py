"""For tests: hypothesis strategies. Needs hypothesis (``pip install 'attn_ref[test]'``)."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from attn_ref.block import Block
from attn_ref.check.cases import Case, draw


@st.composite
def cases(draw_from: Any, cls: type[Block]) -> Case:
    """Cases of a block, valid by construction: hypothesis draws options, sizes and the seed, not array elements."""

    def pick(*options: Any) -> Any:
        return draw_from(st.sampled_from(options))

    return draw(cls.sample(pick), pick, draw_from(st.integers(0, 2**31 - 1)))
