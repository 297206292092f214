"""For tests of your own: a layer that has to conform, and hypothesis strategies for cases."""

from __future__ import annotations

from typing import Any

from attn_ref.block import Block
from attn_ref.check.cases import Case, draw
from attn_ref.verbs.conform import Verdict, conform


def assert_conforms(layer: Any, block: Block, **options: Any) -> Verdict:
    """Fail, with place, line and reason, unless ``layer`` is ``block``; see ``attn_ref.conform``.

    >>> from attn_ref.testing import assert_conforms
    >>> def test_my_attention():
    ...     assert_conforms(MyAttention(8, heads=2), ar.MultiHeadAttention(width=8, num_heads=2))
    """
    __tracebackhide__ = True
    verdict = conform(layer, block, **options)
    if not verdict.ok:
        raise AssertionError(str(verdict))
    return verdict


def cases(cls: type[Block]) -> Any:
    """A strategy for cases of a block, valid by construction: hypothesis draws options, sizes and the seed.

    Needs hypothesis (``pip install 'attn_ref[test]'``). Elements of arrays follow from the seed.
    """
    from hypothesis import strategies as st

    @st.composite
    def drawn(draw_from: Any) -> Case:
        def pick(*options: Any) -> Any:
            return draw_from(st.sampled_from(options))

        return draw(cls.sample(pick), pick, draw_from(st.integers(0, 2**31 - 1)))

    return drawn()
