"""A case that differs is made smaller and plainer, and goes on differing in the same way. No framework is needed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import MISSING, fields
from itertools import count
from typing import Any

import pytest

import attn_ref as ar
from attn_ref.check.cases import Case, cases
from attn_ref.check.judge import Outcome
from attn_ref.check.report import Row
from attn_ref.check.shrink import Shrinker, changed, shrink_rows
from attn_ref.check.told import chosen

MHA = "MultiHeadAttention"


def outcome(case: Case, first: str | None, fault: str = "value", detail: str = "") -> Outcome:
    return Outcome(case.to_json(), 99.0, "", first, fault if first else "", detail, case.size())


def differing(test: Callable[[Case], Any], tap: str = "scores") -> Callable[[Case], Outcome]:
    """An engine that differs at ``tap`` where ``test`` says so."""
    return lambda case: outcome(case, tap if test(case) else None)


def shrunk(case: Case, fails: Callable[[Case], Outcome], *, runs: int = 400, tap: str = "scores") -> Case:
    shrinker = Shrinker(case, tap, "value", "", fails)
    shrinker.run(runs, 1e9)
    return shrinker.case


def drawn(test: Callable[[Case], Any], name: str = MHA) -> Case:
    """The largest of a hundred cases that pass a test: much is on in it."""
    return max(filter(test, cases(ar.block(name), 100)), key=Case.size)


def test_only_the_option_that_matters_is_left() -> None:
    case = drawn(lambda c: c.fields["softcap"] and c.fields["qk_norm"] and c.fields["rotary"] and c.fields["causal"])
    found = shrunk(case, differing(lambda c: c.fields["softcap"] is not None))
    assert chosen(found) == {"softcap": case.fields["softcap"], "width": 1, "num_heads": 1}
    assert set(found.shapes) == {"query"}
    assert set(found.styles.values()) == {"plain"}
    assert (found.shapes["query"], found.seed) == ((1, min(2, case.shapes["query"][1]), 1), 0)


def test_options_that_need_each_other_are_left_together() -> None:
    case = drawn(lambda c: c.fields["qk_norm"] and c.fields["qk_norm_eps"] != 1e-6)
    found = shrunk(case, differing(lambda c: c.fields["qk_norm_eps"] != 1e-6))
    assert {"qk_norm", "qk_norm_eps"} <= set(chosen(found))
    assert not {"softcap", "causal", "rotary", "window_left"} & set(chosen(found))


def test_an_input_that_matters_stays_and_becomes_flat() -> None:
    case = drawn(lambda c: "attention_mask" in c.shapes and {"key", "value"} <= set(c.shapes))
    found = shrunk(case, differing(lambda c: "attention_mask" in c.shapes))
    assert set(found.shapes) == {"query", "attention_mask"}
    assert found.shapes["attention_mask"] == (1, 1, 1, 1)
    assert found.styles["attention_mask"] == "mixed"


def test_the_sizes_that_matter_stay() -> None:
    case = drawn(lambda c: "key" in c.shapes and c.shapes["key"][1] >= 7 and c.fields["num_heads"] in (4, 6))
    found = shrunk(
        case, differing(lambda c: "key" in c.shapes and c.shapes["key"][1] > 2 and c.fields["num_heads"] > 1)
    )
    assert found.shapes["key"][1] == 3
    assert found.fields["num_heads"] == 2
    assert found.shapes["query"][:2] == (1, min(2, case.shapes["query"][1]))


def test_a_difference_elsewhere_is_another_one() -> None:
    case = drawn(lambda c: c.fields["softcap"])
    found = shrunk(case, lambda c: outcome(c, "scores" if c.fields["softcap"] else "weights"))
    assert found.fields["softcap"] == case.fields["softcap"]


def test_another_error_is_another_one_and_another_text_is_not() -> None:
    case = drawn(lambda c: c.fields["softcap"])
    shrinker = Shrinker(
        case, None, "raised", "TypeError: no",
        lambda c: outcome(c, "raised", "raised", f"{'TypeError' if c.fields['softcap'] else 'KeyError'}: {c.size()}"),
    )  # fmt: skip
    shrinker.run(400, 1e9)
    assert shrinker.case.fields["softcap"] == case.fields["softcap"]
    assert shrinker.case.size() < case.size()


def test_what_a_second_call_found_in_another_case_is_not_taken() -> None:
    case = drawn(lambda c: True)
    assert shrunk(case, lambda c: outcome(case, "scores")) == case


@pytest.mark.parametrize("name", ar.blocks())
def test_every_case_that_is_tried_is_one_of_the_block(name: str) -> None:
    """Whatever fails: an option that is still on is one that the block needs, and what is tried can be built."""

    def fails(case: Case) -> Outcome:
        case.inputs()
        tried.append(case)
        return outcome(case, "scores")

    cls = ar.block(name)
    defaults = {field.name: field.default for field in fields(cls) if field.default is not MISSING}
    for case in cases(cls, 4):
        tried: list[Case] = []
        found = shrunk(case, fails)
        assert len(tried) <= 60, "more than a report gives it"
        for option in set(chosen(found)) & set(defaults):
            with pytest.raises(ValueError):
                changed(found, fields={option: defaults[option]})
        assert found.size() <= case.size() or case.empty()
        assert not found.empty()


def test_it_ends_when_its_runs_or_its_seconds_are_over() -> None:
    case, ran = drawn(lambda c: True), []

    def fails(tried: Case) -> Outcome:
        ran.append(tried)
        return outcome(tried, None)

    shrinker = Shrinker(case, "scores", "value", "", fails)
    assert shrinker.run(7, 1e9) == "as it was drawn, after 7 tries, all that it has"
    assert len(ran) == 7
    ran.clear()
    ticks = count()
    Shrinker(case, "scores", "value", "", fails).run(400, 5.0, lambda: float(next(ticks)))
    assert len(ran) <= 5


def test_an_engine_that_ends_for_good_loses_no_row() -> None:
    def broken(row: Row, case: str) -> Outcome:
        raise BrokenProcessPool("gone")

    row = failing(drawn(lambda c: True))
    before = row.case
    shrink_rows([row], broken)
    assert (row.case, row.first_divergence) == (before, "scores")
    assert row.shrunk == "as it was drawn, after 1 try, until BrokenProcessPool"


def failing(case: Case, fault: str = "value", engine: str = "torch") -> Row:
    row = Row(case.block, engine, "forward", "float64", cases=9, failures=1)
    row.offer(outcome(case, "scores", fault))
    return row


def test_time_is_shared_by_the_first_row_of_each_block_and_engine() -> None:
    mha, ffn = drawn(lambda c: True), drawn(lambda c: True, "FeedForward")
    rows = [failing(mha), failing(mha), failing(mha, engine="jax"), failing(ffn), failing(ffn, "timeout")]
    rows.append(Row(MHA, "jax", "forward", "float64"))
    now, order = [0.0], []

    def run(row: Row, case: str) -> Outcome:
        now[0] += 25.0
        order.append((row.block, row.engine))
        return outcome(Case.from_json(case), None)

    shrink_rows(rows, run, clock=lambda: now[0])
    assert order == [(MHA, "torch"), (MHA, "jax"), ("FeedForward", "torch")]
    assert [row.shrunk for row in rows] == [
        "as it was drawn, after 1 try, until its time was up",
        "as it was drawn: other rows took the 60 s that there are for smaller ones",
        "as it was drawn, after 1 try, until its time was up",
        "as it was drawn, after 1 try, until its time was up",
        "as it was drawn, since each try would take as much again",
        "",
    ]


def test_of_many_rows_of_a_block_some_get_smaller_cases_and_the_others_say_so() -> None:
    case = drawn(lambda c: True)
    rows = [failing(case) for _ in range(6)]
    shrink_rows(rows, lambda row, text: outcome(Case.from_json(text), "scores"))
    assert [row.case == case.to_json() for row in rows] == [False] * 4 + [True] * 2
    assert rows[5].shrunk == "as it was drawn: of each block, 4 rows get a smaller one"


def test_an_empty_batch_is_told_only_if_nothing_else_differs() -> None:
    drawn_cases = cases(ar.MultiHeadAttention, 60)
    empty = min((c for c in drawn_cases if c.empty()), key=Case.size)
    full = max((c for c in drawn_cases if not c.empty()), key=Case.size)
    assert empty.size() < full.size()
    for order in ((empty, full), (full, empty)):
        row = Row(MHA, "torch", "forward", "float64")
        for case in order:
            row.offer(outcome(case, "scores"))
        assert row.case == full.to_json()
    assert not shrunk(empty, differing(lambda c: True)).empty()
