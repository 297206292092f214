"""Reports for machines and as a page: distributions that add up, nothing loaded, nothing unescaped, the picture."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import attn_ref as ar
from attn_ref.check.distribution import count, edge, merged, quantile, quantiles
from attn_ref.check.html import html
from attn_ref.check.report import Report, Row

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))


@pytest.fixture(scope="module")
def report() -> Report:
    return ar.check("FeedForward", engines=["torch"], modes=["forward", "gradient"], cases=6, executor="inline")


def test_bins_add_up() -> None:
    figures = (0.0, 0.5, 0.51, 1.0, 1.18, 1.2, 16.0, float("inf"), float("nan"), sys.float_info.max)
    assert [edge(x) for x in figures] == [
        "0", "0.5", "0.595", "1", "1.19", "1.41", "16", "inf", "inf", "inf"
    ]  # fmt: skip
    left, right = {}, {}
    for worst in (0.1, 0.1, 3.0):
        count(left, worst)
    count(right, 0.1, 7)
    assert merged([left, right]) == {"0.105": 9, "3.36": 1}
    assert quantile(merged([left, right]), 0.9) == 0.105
    assert quantiles(merged([left, right])) == {"50": 0.105, "90": 0.105, "99": 3.36, "99.9": 3.36}
    assert quantile({}, 0.5) is None


def test_every_case_is_in_a_rows_distribution(report: Report) -> None:
    for row, plain in zip(report.rows, json.loads(json.dumps(report.to_json()))["rows"], strict=True):
        assert sum(row.distribution.values()) == row.cases == 6
        assert plain["distribution"] == merged([row.distribution])
        assert max(map(float, plain["distribution"])) >= 0.99 * row.worst
        assert set(plain["quantiles"]) == {"50", "90", "99", "99.9"}


def test_the_report_says_what_the_engine_says_of_itself(report: Report) -> None:
    found = report.environment["engines"]["torch"]
    assert found["threads"] >= 1
    assert found["device"] == "cpu"
    assert {"oneDNN", "TF32 in cuDNN", "deterministic"} <= set(found)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_is_whole_and_loads_nothing(report: Report) -> None:
    text = html(report)
    page = Page()
    page.feed(text)
    assert sum(tag == "tr" for tag, _ in page.tags) == 1 + len(report.rows)
    assert sum(tag == "svg" for tag, _ in page.tags) == len(report.rows)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import", text)
    assert "color-scheme: light dark" in text
    for expected in ("FeedForward", "12 cases, 0 differ", "AGREE", "C = 16 in float64", "oneDNN"):
        assert expected in text, expected
    assert "$" not in text


def test_the_page_escapes_and_tells_of_what_differs(report: Report) -> None:
    bad = Row("FeedForward", "torch", "forward", "float64", 3, failures=1, worst=float("inf"), worst_at="<script>")
    bad = replace(bad, first_divergence="a<b", detail="x & y", case='{"a": "<i>"}', distribution={"0": 1, "inf": 2})
    lost = Row("FeedForward", "jax", "forward", "float64", skipped=3, note="no mirror in <x>")
    gap = {"id": "g<1>", "op": "tanh", "dtype": "float64", "engine": "jax", "unit": 1e-7, "package": "keras",
           "versions": ">=3", "reason": "a < b", "upstream": "x.py:1"}  # fmt: skip
    text = html(Report([bad, lost], [gap], report.environment, report.limits))
    for raw in ("<script>", "a<b", "<i>", "<x>", "g<1>"):
        assert raw not in text
    for expected in ("DIFFER in 1", "a&lt;b", "x &amp; y", "skipped: no mirror", "g&lt;1&gt;", "1 rows have no mirror"):
        assert expected in text, expected


@pytest.fixture(scope="module")
def failing(report: Report) -> Report:
    taps = [
        {"tap": name, "error": error, "unit": 1e-16, "ratio": error / 1e-16, "ok": error < 1e-15}
        for name, error in (("query", 0.0), ("attention.scores", float("inf")), ("output", 0.5))
    ]
    case = {"block": "FeedForward", "fields": {"width": 2, "hidden_width": 3, "activation": "relu", "dropout": 0.0},
            "shapes": {"x": [1, 2, 2]}, "styles": {"x": "plain"}, "seed": 0}  # fmt: skip
    bad = Row("FeedForward", "jax", "forward", "float64", 3, failures=2, worst=4.8e136, known_gaps=["jax-cos"],
              first_divergence="attention.scores", fault="value", detail="0.95 off", case=json.dumps(case), taps=taps,
              shrunk="made smaller in 9 tries")  # fmt: skip
    gap = {"id": "jax-cos", "op": "cos", "dtype": "float64", "engine": "jax", "unit": 1e-7, "package": "keras",
           "versions": ">=3", "reason": "why", "upstream": "x.py:1"}  # fmt: skip
    return Report([*report.rows, bad], [gap], report.environment, report.limits)


def test_the_page_tells_a_difference_whole(failing: Report) -> None:
    text = html(failing)
    assert "differs first at <b>attention.scores</b>: 0.95 off" in text
    assert "4.8e136" in text
    (bad,) = re.findall(r"<tr class='first'>(.*)", text)
    assert re.sub(r"<[^>]+>", "|", bad) == "|attention.|scores|∞|1e-16|∞"
    assert "<li>FeedForward(width=2, hidden_width=3)</li><li>x (1, 2, 2), plain</li><li>seed 0</li>" in text
    (command,) = re.findall(r"<pre class=\"command\"><code>(.*)</code></pre>", text)
    assert unescape(command) == (
        """attn-ref reproduce '{"block": "FeedForward", "fields": {"width": 2, "hidden_width": 3}, "shapes": {"x": """
        """[1, 2, 2]}, "styles": {"x": "plain"}, "seed": 0}' --engine jax --dtype float64 --mode forward"""
    )
    assert "σ: how far rounding alone moves the value" in text


def test_links_lead_from_a_row_to_its_case_and_gaps_and_back(failing: Report) -> None:
    page = Page()
    page.feed(html(failing))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert links == ["#case-2", "#jax-cos", "#row-2"]
    assert {link.removeprefix("#") for link in links} <= anchors


def test_the_page_can_be_read_by_light_and_dark_in_every_browser() -> None:
    """WCAG's contrast of 4.5 for all text; no light-dark(), which browsers before 2024 drop."""

    def lightness(colour: str) -> float:
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    style = (Path(ar.__file__).parent / "check" / "templates" / "style.css").read_text("utf-8")
    assert "light-dark(" not in style
    light, dark = (dict(re.findall(r"--(\w+): #(\w+)", part)) for part in style.split("@media")[:2])
    assert set(light) == set(dark)
    for colours in (light, dark):
        for text in ("text", "aside", "good", "bad", "odd", "link"):
            for ground in ("page", "code", *(["mark"] if text == "bad" else [])):
                dim, bright = sorted((lightness(colours[text]), lightness(colours[ground])))
                assert (bright + 0.05) / (dim + 0.05) >= 4.5, (text, ground, colours)


def test_the_command_writes_a_page(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from attn_ref.commands.check import command

    target = tmp_path / "report.html"
    options = ["FeedForward", "--engine", "torch", "--cases", "2", "--executor", "inline", "--html", str(target)]
    assert CliRunner().invoke(command, options, standalone_mode=False).return_value == 0
    assert target.read_text("utf-8").startswith("<!doctype html>")


def test_the_clean_distribution_adds_reports_up_and_refuses_one_that_differs(report: Report, tmp_path: Path) -> None:
    import distribution

    path = tmp_path / "a.json"
    path.write_text(json.dumps(report.to_json()))
    data = distribution.gather([path, path])
    assert data["cases"] == 24
    assert [(row["mode"], row["cases"]) for row in data["rows"]] == [("forward", 12), ("gradient", 12)]
    assert len(data["environments"]) == 1
    worst = max(row["worst"] for row in data["rows"])
    assert distribution.by_block(data).splitlines()[2:] == [f"| FeedForward | {worst:.2f} of 24 |"]
    plain = report.to_json()
    plain["rows"][0]["failures"] = 1
    path.write_text(json.dumps(plain))
    with pytest.raises(
        ValueError, match=r"1 rows differ, so this is no clean distribution; .*forward FeedForward torch"
    ):
        distribution.gather([path])
    pytest.importorskip("matplotlib")
    distribution.draw(data, tmp_path / "a.svg")
    assert "float64" in (tmp_path / "a.svg").read_text()


def test_the_committed_distribution_is_clean_and_within_the_limits() -> None:
    import distribution

    data = json.loads(distribution.DATA.read_text("utf-8"))
    assert data["cases"] == sum(row["cases"] for row in data["rows"]) >= 500
    for row in data["rows"]:
        assert row["worst"] <= data["limits"][row["dtype"]], row
        assert sum(row["distribution"].values()) == row["cases"]
    assert distribution.tables(data) in (distribution.DOCS / "tolerance.md").read_text("utf-8")
    assert data["limits"] == distribution.LIMIT, "C was changed: run benchmarks/distribution.py again"
    assert distribution.PICTURE.exists()


def test_a_report_of_a_block_that_is_not_here_can_be_shown(failing: Report) -> None:
    row = replace(failing.rows[-1], block="Gone", case='{"block": "Gone"}')
    text = str(Report([row], [], failing.environment, failing.limits))
    assert 'attn-ref reproduce \'{"block": "Gone"}\' --engine jax' in text


def test_what_other_commands_pipe_is_not_folded_either() -> None:
    from click.testing import CliRunner

    from attn_ref.cli import cli
    from attn_ref.commands.list import title

    lines = CliRunner().invoke(cli, ["list"], standalone_mode=False).output.splitlines()
    for name, block in ar.blocks().items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert title(block) in line
