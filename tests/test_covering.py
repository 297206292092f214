"""The cases that a check draws first: what they cover, what they hold, and what they find that random ones did not."""

from collections.abc import Iterator

import numpy as np
import pytest

import attn_ref as ar
from attn_ref.check.covering import apart, coverage, few_of, planned, possible
from attn_ref.check.drawing import BESIDE, COMPILED, kinds
from attn_ref.check.features import core, features, pairs
from attn_ref.check.kept import folder, prune
from attn_ref.check.large import SCORES, large_cases
from attn_ref.check.native import copies, odd, spread
from attn_ref.check.pool import random_cases, what_occurs

BLOCKS = list(ar.blocks())
#: in one worker for each block, since its cases take seconds to choose
every_block = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(f"cases of {name}")) for name in BLOCKS]
)
#: random blocks that the array was not made from
FRESH = 1500


@every_block
def test_every_pair_that_can_occur_together_does(name: str) -> None:
    cls = ar.block(name)
    first = planned(cls)
    met, of = coverage(cls, first)
    assert met == of >= len(list(pairs(apart(cls, first[0])))) > 0


@pytest.mark.parametrize("name", ["TransformerLayer", "AttentionCNN", "MultiHeadAttention"])
def test_every_pair_of_features_that_stand_for_others_is_met_too(name: str) -> None:
    cls = ar.block(name)
    plain, drawn = what_occurs(cls)
    can = {pair for case in [*(case for _, case in plain), *drawn] for pair in pairs(features(case))}
    assert can <= {pair for case in planned(cls) for pair in pairs(features(case))}


@every_block
def test_every_option_varies(name: str) -> None:
    """An option that is the same in all cases is not checked."""
    fixed = [f for f in ar.block(name).witnesses if len({str(case.fields[f]) for case in planned(ar.block(name))}) < 2]
    assert fixed == []


@pytest.mark.parametrize("name", ["ScaledDotProductAttention", "EncoderLayer", "CBAM", "VisionTransformer"])
def test_few_pairs_of_other_random_blocks_are_missing(name: str) -> None:
    """What can occur together is learnt from a few hundred blocks; of many more hardly a pair is new."""
    cls = ar.block(name)
    known = possible(cls)
    seen = [pair for case in list(random_cases(cls, FRESH))[400:] for pair in pairs(apart(cls, case))]
    assert sum(pair not in known for pair in seen) < 0.002 * len(seen)


def test_attention_meets_every_two_of_its_options_alone() -> None:
    """Causality from the bottom right with t ≠ s, or with one other thing, and nothing else: what fused calls serve."""
    cls = ar.ScaledDotProductAttention
    plain = core(planned(cls)[0])
    found = [core(case) - plain for case in planned(cls)]
    alone = [dict(changes) for changes in found if len(changes) <= 3]
    for other in ("attention_mask", "bias", "query_offset", "key_lengths"):
        assert any(c.get("causal") == "bottom_right" and c.get(other) == "given" for c in alone), other
        assert any(c.get("causal") == "top_left" and c.get(other) == "given" for c in alone), other
    several = [case for case in planned(cls) if case.shapes["query"][2] > 1]
    for causal in ("top_left", "bottom_right"):
        for other in ("attention_mask", "bias", "query_offset", "key_lengths"):
            found = [core(case) for case in several if {("causal", causal), (other, "given")} <= core(case)]
            assert any(len(c - plain) <= 3 for c in found), f"{causal} and {other} alone, of several queries"
    for relation in ("t < s", "t = s", "t > s", "t = 1"):
        assert any(
            dict(core(c))["causal"] == "bottom_right" and dict(core(c))["t, s"] == relation for c in planned(cls)
        )


def test_what_comes_alone_is_served_by_fused_kernels() -> None:
    """torch's takes values as wide as keys: a scale of 0 with ``is_causal`` hid where widths differed."""
    usual = core(planned(ar.ScaledDotProductAttention)[0])
    alone = [case for case in planned(ar.ScaledDotProductAttention) if 1 < len(core(case) - usual) <= 3]
    wide = [case.shapes["value"][-1] == case.shapes["key"][-1] for case in alone]
    assert sum(wide) > 0.6 * len(wide) > 60


@every_block
def test_the_cases_are_valid_and_the_same_each_time(name: str) -> None:
    cls = ar.block(name)
    drawn = planned(cls)
    assert len({case.to_json() for case in drawn}) == len(drawn) or len(drawn) > 100
    for case in drawn[:6] + drawn[-2:]:
        block = case.build()
        assert np.isfinite(block(case.weights(), **case.inputs())).all()
    assert any(size > 64 for case in drawn for shape in case.shapes.values() for size in shape) or name in FIXED


def test_a_large_case_is_long_and_no_table_of_places_by_places_is_huge() -> None:
    """Four models ran 2,051 tokens that see each other, twice: a third of the time of a check on torch."""

    def longest(name: str) -> int:
        return max(size for case in large_cases(ar.block(name)) for shape in case.shapes.values() for size in shape)

    for name in ("TransformerStack", "EncoderDecoder", "LanguageModel", "TextEncoder", "EncoderLayer"):
        assert longest(name) == 1025 <= SCORES**0.5, name
    for name in ("FeedForward", "RotaryEmbedding", "AttentionPooling"):  # which compare no two places
        assert longest(name) == 2051, name
    for name in ("LinearPositionBias", "ScaledDotProductAttention"):  # of few keys
        assert longest(name) == 2051, name


#: blocks whose sizes are all theirs
FIXED = ("PatchEmbedding", "VisionTransformer")


def test_a_costly_row_has_styles_and_plain_cases() -> None:
    few = few_of(ar.SqueezeExcitation, 8)
    assert len(few) == 8
    assert {case.styles["x"] for case in few} >= {"plain", "large", "huge", "shifted"}


def test_a_check_that_names_nothing_runs_every_kind() -> None:
    assert kinds("torch", None, None, None)[1:] == list(BESIDE)
    assert kinds("torch", None, None, None)[0] == ("forward", "float64", None)
    assert kinds("torch", ["gradient"], None, 7) == [("gradient", "float64", 7)]
    assert kinds("torch", None, None, None, model=True)[1:] == [(mode, dtype, n // 4) for mode, dtype, n in BESIDE]
    assert kinds("jax", None, None, None, model=True)[0] == ("forward", "float64", COMPILED // 4)
    assert kinds("jax", None, None, None)[0] == ("forward", "float64", COMPILED)
    assert {dtype for _, dtype, _ in kinds("jax", None, None, None)} == {"float64"}


def keeps(rate: float, count: int = 400) -> np.ndarray:
    return (np.random.default_rng(0).random(count) >= rate) / (1 - rate)


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        (keeps(0.25), ""),
        (keeps(0.25) * 0.75, "keep holds 1"),
        (keeps(0.75), "keep holds 4"),
        (np.full(400, 4 / 3), "0 of 400 are dropped"),
    ],
)
def test_what_is_no_keep_mask(keep: np.ndarray, says: str) -> None:
    assert odd(keep, 0.25, "float64").startswith(says)
    assert bool(odd(keep, 0.25, "float64")) == bool(says)


def draws(seed: int, rate: float = 0.25, *, shared: bool = False, scale: float = 1.0) -> np.ndarray:
    """Outputs of two heads over five keys, 1,024 times."""
    random = np.random.default_rng(seed)
    values = np.random.default_rng(1).normal(size=(2, 5, 3))
    keep = (random.random((1024, 1 if shared else 2, 5)) >= rate) / (1 - rate) * scale
    return np.einsum("nhk,hkd->nd", np.broadcast_to(keep, (1024, 2, 5)), values)


def test_spreads_tell_dropout_that_is_wrong() -> None:
    right = draws(2)
    assert spread(draws(3), right, 0) == ""
    assert "variance" in spread(draws(3, rate=0.5), right, 0)
    assert "mean" in spread(draws(3, scale=0.75), right, 0)
    assert spread(draws(3, shared=True), right, 0)
    assert spread(np.repeat(right[:1], 1024, axis=0), right, 0)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator:
    monkeypatch.setenv("ATTN_REF_CACHE", str(tmp_path))
    return tmp_path


def test_the_cache_has_a_switch_and_a_limit(cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder("jax") == cache / "jax"
    for n in range(10):
        (cache / "jax" / str(n)).write_bytes(b"x" * 100)
    prune(cache / "jax", 1000)
    assert len(list((cache / "jax").iterdir())) == 10
    prune(cache / "jax", 999)
    assert len(list((cache / "jax").iterdir())) <= 5
    monkeypatch.setenv("ATTN_REF_CACHE", "off")
    assert folder("jax") is None
    monkeypatch.setenv("ATTN_REF_CACHE", "/proc/nothing")
    assert folder("jax") is None


def test_copies_take_every_rank_of_a_mask() -> None:
    """One example many times, whatever is the same for all of it; a mask of rank 0 had no first example."""
    block = ar.ScaledDotProductAttention(dropout=0.25)
    x = np.ones((2, 1, 3, 2))
    for mask in (np.array(True), np.ones((3, 3), bool), np.ones((2, 1, 3, 3), bool)):
        made = copies(block, {"query": x, "key": x, "value": x, "attention_mask": mask}, 1024)
        assert len(made["query"]) == 1024
        block({}, **made)
    assert copies(block, {"query": x, "key": x, "value": x}, 1000) == {}, "too few to tell anything"
