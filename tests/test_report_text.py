"""What people read when something differs: at every width, in plain words, with the command to run it again."""

from __future__ import annotations

import json
import re
import shlex
from io import StringIO
from typing import Any

import pytest
from click.testing import CliRunner
from planting import planted

import attn_ref as ar
from attn_ref.check.report import Report, Row
from attn_ref.cli import cli

SDPA = "attn_ref_torch.blocks.scaled_dot_product_attention"
FFN = "attn_ref_torch.blocks.feed_forward"
REDUCED = 'return tap("reduced", self.reduce(active), "b t c")'
WIDTHS = (60, 80, 120, 200)
GAPS = ["jax-cos", "jax-layer-norm", "jax-rms-norm", "jax-sin", "jax-tanh"]


def check(block: str, **options: Any) -> Report:
    return ar.check(block, engines="torch", executor="inline", **{"cases": 4, **options})


def wrong_scale() -> Any:
    return planted(SDPA, "return width**-0.5", "return (heads * width) ** -0.5")


def reduced(new: str) -> Any:
    """In the torch mirror of ``FeedForward`` the last line is another."""
    return planted(FFN, REDUCED, new)


@pytest.fixture(scope="module")
def failing() -> Report:
    with wrong_scale():
        return check("MultiHeadAttention", cases=20)


@pytest.fixture(scope="module")
def passing() -> Report:
    """Ten rows of long names, all of which agree; some with known gaps."""
    report = check("FeedForward", cases=1)
    rows = [
        Row(block, engine, "gradient", "bfloat16", 200, worst=3.14159, known_gaps=GAPS * (engine == "jax"),
            worst_at="layers.0.attention.query_rotary.angles")
        for block in ("MultiHeadAttention", "ScaledDotProductAttention")
        for engine in ("torch", "tensorflow", "jax", "torch-export", "tensorflow-graph")
    ]  # fmt: skip
    gaps = [
        {"id": name, "op": "cos", "dtype": "float64", "engine": "jax", "unit": 6e-8, "package": "keras",
         "versions": ">=3.12,<=3.15.1", "reason": "A long paragraph. " * 20, "upstream": "x.py:1"}
        for name in GAPS
    ]  # fmt: skip
    return Report(rows, gaps, report.environment, {"bfloat16": 4.0})


def on_terminal(report: Report, width: int) -> list[str]:
    from rich.console import Console

    from attn_ref.check.terminal import print_report

    text = StringIO()
    print_report(report, Console(file=text, force_terminal=True, width=width, color_system=None, highlight=False))
    return [line.rstrip() for line in text.getvalue().splitlines()]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(failing: Report, passing: Report, width: int) -> None:
    for report, verdict in ((failing, f"DIFFER in {failing.rows[0].failures}"), (passing, "agree")):
        lines = on_terminal(report, width)
        commands = [line for line in lines if "attn-ref reproduce" in line]
        assert max(len(line) for line in lines if line not in commands) <= width
        text = "\n".join(lines)
        assert "…" not in text.replace("… ", "")
        for row in report.rows:
            found = [line for line in lines if re.search(rf"^{row.block} +{row.engine} .*{verdict}", line)]
            assert len(found) == 1, (row.block, row.engine)
            words = " ".join(text.split()).replace(". ", ".")
            for word in (row.mode, row.dtype, row.first_divergence or row.worst_at, f"{row.cases}"):
                assert word in words
    assert all(gap in "\n".join(on_terminal(passing, width)) for gap in GAPS)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_wide_terminal_has_one_line_a_row_and_a_narrow_one_two(failing: Report, passing: Report, width: int) -> None:
    for report in (failing, passing):
        lines = on_terminal(report, width)
        row = next(line for line in lines if line.split()[:2] == [report.rows[-1].block, report.rows[-1].engine])
        one = (report.rows[-1].first_divergence or report.rows[-1].worst_at) in row
        assert one == (width >= 120 or (report is failing and width == 80))


def test_what_goes_into_a_pipe_is_neither_cut_nor_folded(failing: Report, passing: Report) -> None:
    lines = str(passing).splitlines()
    (row,) = [line for line in lines if line.startswith("ScaledDotProductAttention  jax ")]
    for word in ("gradient", "bfloat16", "200", "3.14", "layers.0.attention.query_rotary.angles", "agree"):
        assert word in row.split()
    assert row.endswith(", ".join(GAPS))
    assert len([line for line in lines if line.startswith("σ: ")]) == 1
    (line,) = [line for line in str(failing).splitlines() if "differs first" in line]
    assert line.endswith("agrees)")


def test_numbers_are_short(failing: Report) -> None:
    assert failing.rows[0].worst > 1e13
    assert not re.search(r"[\d.]{8,}", str(failing).split("python")[0])
    assert "e+" not in str(failing)


def test_the_whole_story_of_a_difference(failing: Report) -> None:
    text = str(failing)
    said = (
        r"differs first at attention\.scores: 0\.\d+ off where rounding explains \d\.\d+e-16 \(\d\.\d+e14 σ; up to 16 σ"
    )
    assert re.search(said, text)
    (legend,) = [line for line in text.splitlines() if line.startswith("σ: how far rounding alone moves the value")]
    assert "An error up to 16 σ agrees in float64" in legend
    lines = [line.split() for line in text.splitlines()]
    (bad,) = [line for line in lines if line[:1] == ["✗"]]
    assert bad[1] == "attention.scores"
    assert [line[0] for line in lines if line[:1] and line[0] in ("query", "key", "value")][:3] == [
        "query",
        "key",
        "value",
    ]
    assert re.search(r"MultiHeadAttention\(width=\d, num_heads=\d\)\n", text), "no option that is at its default"
    assert "seed 0" in text


def test_the_command_that_is_shown_runs_as_it_is(failing: Report) -> None:
    (line,) = [line for line in str(failing).splitlines() if "attn-ref reproduce" in line]
    arguments = shlex.split(line)
    assert arguments[:2] == ["attn-ref", "reproduce"]
    assert arguments[3:] == ["--engine", "torch", "--dtype", "float64", "--mode", "forward"]
    with wrong_scale():
        done = CliRunner().invoke(cli, [*arguments[1:], "--executor", "inline"], standalone_mode=False)
    assert done.return_value == 1
    assert "differs first at attention.scores" in done.output
    assert CliRunner().invoke(cli, arguments[1:], standalone_mode=False).return_value == 0, "no fault, no difference"


def test_a_row_has_the_taps_of_its_case(failing: Report) -> None:
    (row,) = failing.to_json()["rows"]
    assert (row["first_divergence"], row["fault"]) == ("attention.scores", "value")
    assert [tap["tap"] for tap in row["taps"]][:4] == ["query", "key", "value", "attention.scores"]
    assert [tap["ok"] for tap in row["taps"]][:4] == [True, True, True, False]
    for tap in row["taps"]:
        assert set(tap) == {"tap", "error", "unit", "ratio", "ok"}
        assert tap["ratio"] == tap["error"] / tap["unit"]
    assert json.loads(row["case"])["fields"]["softcap"] is None
    assert row["shrunk"].startswith("made smaller in ")


@pytest.mark.parametrize(
    ("new", "fault", "tap", "said"),
    [
        (
            "y = self.reduce(active) * float('nan')", "value", "reduced",
            "differs first at reduced: NaN in 1 of 1 values",
        ),
        (
            "y = self.reduce(active) / 0.0", "value", "reduced",
            r"differs first at reduced: −?∞ at \(0, 0, 0\), where the definition has .*; such are 1 of 1 values",
        ),
        (
            "y = self.reduce(active)[..., :1, :].flatten(1)[:, None]", "shape", "reduced",
            r"differs first at reduced: has shape \(\d, 1, \d+\), should have \(\d, \d, \d+\)",
        ),
        (
            "raise RuntimeError('[bold]no[/]\\n\\x1b[31m' + 'x' * 999)", "raised", None,
            r"it raised an error: RuntimeError: \[bold\]no\[/\] \\x1b\[31mx{380}x*… \(\d+ characters\)",
        ),
        (
            "active = tap('more', active, 'b t f'); y = self.reduce(active)", "taps", "more",
            "differs first at more: the definition has no tap more",
        ),
    ],
    ids=["NaN", "infinity", "shape", "raised", "taps"],
)  # fmt: skip
def test_every_kind_of_difference_in_words(new: str, fault: str, tap: str | None, said: str) -> None:
    with reduced(f"{new}\n        return tap('reduced', y, 'b t c')"):
        report = check("FeedForward")
    (row,) = report.to_json()["rows"]
    assert (row["first_divergence"], row["fault"]) == (tap, fault)
    text = str(report)
    assert re.search(said, text), text
    assert not re.search("inf |inf is|tap raised|at raised|\x1b", text)
    json.dumps(report.to_json(), allow_nan=False)


def test_taps_that_are_named_otherwise_missing_or_in_another_order() -> None:
    hidden = 'hidden = tap("hidden", self.expand(x), "b t f")'
    with planted(FFN, hidden, hidden.replace('"hidden"', '"wide"')):
        (row,) = check("FeedForward").rows
    assert (row.first_divergence, row.fault) == ("hidden", "taps")
    assert row.detail == "the tap is misnamed: the mirror calls it wide"
    with planted(FFN, hidden, "hidden = self.expand(x)"):
        (row,) = check("FeedForward").rows
    assert (row.first_divergence, row.detail) == ("hidden", "the mirror has no tap hidden")


def test_another_order_of_taps_is_said() -> None:
    from attn_ref.check.judge import Outcome, judge_names

    outcome = Outcome("", 0.0, "")
    judge_names(outcome, ["query", "key", "value"], ["query", "value", "key"], whole=True)
    assert (outcome.tap, outcome.fault) == (None, "taps")
    assert outcome.detail == "they come in another order: after query comes value, where the definition has key"


def test_another_dtype_is_no_tap() -> None:
    with reduced(f"{REDUCED.replace('return', 'y =')}\n        return y.double()"):
        report = check("FeedForward", dtypes="float32")
    (row,) = report.to_json()["rows"]
    assert (row["first_divergence"], row["fault"]) == (None, "dtype")
    assert "the output has another dtype: the layer is of float32, and its output of float64" in str(report)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("self.reduce(active).detach() + 0 * x", "differs first at gradient of "),
        (
            "self.reduce(active) + 0 * (0 * x).abs().sqrt()",
            r"differs first at gradient of input x: NaN in \d of",
        ),
    ],
    ids=["none", "NaN"],
)
def test_a_gradient_that_is_wrong(new: str, said: str) -> None:
    with reduced(f'return tap("reduced", {new}, "b t c")'):
        report = check("FeedForward", modes="gradient")
    (row,) = report.to_json()["rows"]
    assert row["fault"] in ("value", "shape")
    assert re.search(said, str(report))
    json.dumps(row, allow_nan=False)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


CHECK = ["check", "FeedForward", "--engine", "torch", "--executor", "inline", "--cases", "2", "--json", "-"]
CASE = {"block": "FeedForward", "fields": {"width": 2, "hidden_width": 3}, "shapes": {"x": [1, 2, 2]},
        "styles": {"x": "plain"}, "seed": 0}  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [CHECK, ["reproduce", json.dumps(CASE), "--executor", "inline", "--json"]], ids=["check", "reproduce"]
)
def test_json_is_json_with_infinities_too(arguments: list[str]) -> None:
    with reduced("return tap('reduced', self.reduce(active) * float('nan'), 'b t c')"):
        done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    data = json.loads(done.output, parse_constant=refuse)
    row = data["rows"][0] if arguments == CHECK else {**data, "taps": data["rows"]}
    assert (row["first_divergence"], row["fault"]) == ("reduced", "value")
    bad = next(tap for tap in row["taps"] if not tap["ok"])
    assert (bad["tap"], bad["error"], bad["ratio"]) == ("reduced", "NaN", "NaN")
    assert row.get("worst", "Infinity") == "Infinity"


@pytest.mark.parametrize("width", WIDTHS)
def test_reproduce_has_room_on_every_terminal(width: int) -> None:
    from rich.console import Console

    from attn_ref.check.judge import Outcome
    from attn_ref.commands.reproduce import print_outcome

    names = ["hidden", "gradient of parameter layers.0.attention.query_norm.scale"]
    outcome = Outcome("", 4.8e136, names[1], names[1], "value", "0.95 off where rounding explains 2e-15")
    outcome.rows = [(names[0], 1e-17, 2e-16, True), (names[1], 0.95, 2e-15, False)]
    text = StringIO()
    console = Console(file=text, force_terminal=True, width=width, color_system=None, highlight=False)
    print_outcome(outcome, "float64", console)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    words = text.getvalue().split()
    assert {"hidden", "layers.0.attention.query_norm.scale", "1e-17", "0.95"} <= {word.rstrip(",") for word in words}
    assert {"4.75e14"} <= {word.rstrip(",") for word in words}


def test_far_taps_are_summed_up_in_a_report_and_shown_by_reproduce() -> None:
    from attn_ref.check.told import taps

    rows = [{"tap": f"t{n}", "error": 0.0, "unit": 1.0, "ratio": 0.0, "ok": n not in (30, 35)} for n in range(50)]
    said = [line.tap for line in taps(rows)]
    assert said == ["… 22 more agree", *(f"t{n}" for n in range(22, 34)), "… 16 more of which 1 differ"]
    assert [line.tap for line in taps(rows, whole=True)] == [row["tap"] for row in rows]
