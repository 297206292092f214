"""What comparing sees beside values: dtype, inputs, order in memory, a second call, rows, and what lies below a gap."""

from __future__ import annotations

import numpy as np
import pytest
from planting import PACKAGES, planted

import attn_ref as ar
from attn_ref.check.cases import Case, cases
from attn_ref.check.compare import compare
from attn_ref.check.gaps import Gap, gaps
from attn_ref.check.judge import Outcome
from attn_ref.check.tolerance import Truth

FFN, SDPA, MHA = "blocks.feed_forward", "blocks.scaled_dot_product_attention", "blocks.multi_head_attention"


def outcomes(
    engine: str, block: str, count: int = 24, dtype: str = "float64", known: tuple[Gap, ...] = ()
) -> list[Outcome]:
    return [compare(ar.backend(engine), case, dtype, known) for case in cases(ar.block(block), count)]


@pytest.mark.parametrize(
    ("engine", "new"), [("torch", "y.double()"), ("tensorflow", "__import__('tensorflow').cast(y, 'float64')")]
)
def test_an_output_of_another_dtype(engine: str, new: str) -> None:
    old = 'return tap("reduced", self.reduce(active), "b t c")'
    with planted(f"{PACKAGES[engine]}.{FFN}", old, f"{old.replace('return', 'y =')}\n        return {new}"):
        found = outcomes(engine, "FeedForward", 4, "float32")
    assert {o.first for o in found} == {"dtype"}
    assert found[0].detail == "the layer is of float32, and its output of float64"


def test_a_known_gap_may_name_the_dtype_that_comes_out() -> None:
    assert [gap.id for gap in gaps() if gap.returns] == ["jax-tanh"]


def test_inputs_changed_in_place() -> None:
    old, new = "hidden = tap", "x += 1.0\n        x -= 1.0\n        x *= 1.0000001\n        hidden = tap"
    with planted(f"{PACKAGES['torch']}.{FFN}", old, new):
        found = outcomes("torch", "FeedForward", 6)
    assert "raised" in {o.first for o in found}
    assert any("changed its input x in place" in o.detail for o in found)


def test_a_view_of_inputs_that_lie_in_another_order() -> None:
    old, new = "hidden = tap", "x = x.view(-1).view(x.shape)\n        hidden = tap"
    with planted(f"{PACKAGES['torch']}.{FFN}", old, new):
        found = outcomes("torch", "FeedForward", 12)
    assert any(o.first == "raised" and "view" in o.detail for o in found)
    assert any(o.first is None for o in found), "in C order it works"


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_mask_kept_from_the_first_call(engine: str) -> None:
    old, new = "rules.append(ahead <= 0)", "self.kept = getattr(self, 'kept', ahead <= 0); rules.append(self.kept)"
    with planted(f"{PACKAGES[engine]}.{SDPA}", old, new):
        found = outcomes(engine, "ScaledDotProductAttention", 60)
    named = {o.first for o in found} - {None}
    assert named
    assert named <= {f"{tap} (second call, other sizes)" for tap in ("masked", "output", "raised")}


def test_a_plain_fault_that_only_the_second_case_shows_is_told_as_what_it_is() -> None:
    old, new = (
        'return tap("reduced", self.reduce(active)',
        'return tap("reduced", self.reduce(active) * (2 if x.shape[1] == 7 else 1)',
    )
    with planted(f"{PACKAGES['torch']}.{FFN}", old, new):
        found = [o for o in outcomes("torch", "FeedForward", 24) if o.first]
    assert {o.first for o in found} == {"reduced"}
    assert all(compare(ar.backend("torch"), Case.from_json(o.case), "float64").first is None for o in found)


def test_another_case_has_other_sizes_and_none_that_is_0() -> None:
    for name, cls in ar.blocks().items():
        for case in cases(cls, 12):
            other = case.another()
            assert (other.block, other.fields) == (name, case.fields)
            assert other == case.another()
            assert other.shapes != case.shapes
            assert all(size for shape in other.shapes.values() for size in shape)


def test_a_row_that_is_tiny_beside_the_others() -> None:
    """A row 1e-12 of the largest, off by a tenth of itself."""
    block = ar.FeedForward(width=2, hidden_width=3)
    w, x = block.init(), np.array([[[1e6, -1e6], [1e-6, 1e-6]]])
    w = {name: value * (0.0 if name.endswith("bias") else 1.0) for name, value in w.items()}
    right = Truth(block, w, {"x": x}, "float64")
    assert right.unit["hidden"].shape == (1, 2)
    assert right.unit["hidden"][0, 1] < 1e-20
    assert right.unit["hidden"][0, 0] > 1e-12


def test_a_small_fault_below_a_known_gap_is_named_at_its_tap() -> None:
    """The gap leaves 2^-24 in what follows; from the engine's own values on, nothing of it is left."""
    old, new = 'return tap("fed", x + self.feed(normed)', 'return tap("fed", (x + self.feed(normed)) * (1 + 1e-10)'
    row = next(gap for gap in gaps() if gap.op == "layer_norm")
    with planted(f"{PACKAGES['torch']}.blocks.encoder_layer", old, new):
        drawn = [
            c
            for c in cases(ar.block("EncoderLayer"), 30)
            if c.fields["norm_first"] and all(map(all, c.shapes.values()))
        ]
        found = {compare(ar.backend("torch"), case, "float64", [row], again=False).first for case in drawn}
    assert found == {"fed (from the engine's values before it)"}
