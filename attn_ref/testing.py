"""For tests of your own: a layer that has to conform, and hypothesis strategies for cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.check.cases import Case, draw
from attn_ref.check.judge import Outcome, judge
from attn_ref.check.tolerance import LIMIT, OUTPUT, Truth
from attn_ref.engines import MissingBackend
from attn_ref.tap import Tapped
from attn_ref.verbs.conform import NotATarget, Verdict, conform


class DoesNotConform(AssertionError):
    """A layer is not the block; ``verdict`` says where and why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


def assert_conforms(layer: Any, block: Block, **options: Any) -> Verdict:
    """Fail, with place, line and reason, unless ``layer`` is ``block``; see ``attn_ref.conform``.

    >>> from attn_ref.testing import assert_conforms
    >>> def test_my_attention():
    ...     assert_conforms(MyAttention(8, heads=2), ar.MultiHeadAttention(width=8, num_heads=2))
    """
    __tracebackhide__ = True
    try:
        verdict = conform(layer, block, **options)
    except (NotATarget, MissingBackend) as error:
        raise error.with_traceback(None) from None
    if not verdict.ok:
        raise DoesNotConform(verdict)
    return verdict


def assert_agrees(case: Case, output: Any, taps: Mapping[str, Any] | None = None, *, dtype: str = "float64") -> None:
    """Fail unless ``output`` is what the case's block gives, up to what rounding in ``dtype`` explains.

    ``output`` is for ``case.weights(dtype)`` and ``case.inputs(dtype)``. ``taps``: values of yours by the names of the
    block's taps, axes in their order; they are compared first, and the message names the first that differs.
    """
    __tracebackhide__ = True
    right = Truth(case.build(), case.weights(dtype), case.inputs(dtype), dtype, runs=0)
    if unknown := [name for name in taps or {} if name not in right.taps]:
        raise ValueError(f"{case.build()} has no tap {', '.join(unknown)}; it has {', '.join(right.taps)}")
    found = Outcome(case.to_json(), 0.0, "", foreign=True)  # some of the taps are enough
    given = {**(taps or {}), OUTPUT: output}
    seen = {name: Tapped(np.asarray(value), right.taps[name].labels) for name, value in given.items()}
    judge(found, right, seen, LIMIT[dtype])
    if found.first is not None:
        raise AssertionError(f"differs first at {found.first}: {found.detail}\ncase    {found.case}")


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
