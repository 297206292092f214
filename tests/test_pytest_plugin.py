"""The pytest plugin as a stranger has it: found by its entry point, in a pytest of its own."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

import attn_ref as ar
from attn_ref.check.cases import cases
from attn_ref.testing import assert_agrees

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
#: a softmax by hand; the wrong one runs over the queries
LAYER = """\
import numpy as np


class Attention:
    def __init__(self, axis):
        rng = np.random.default_rng(0)
        self.q, self.k, self.v, self.o = (rng.normal(size=(8, 8)) for _ in range(4))
        self.axis = axis

    def __call__(self, x):
        q, k, v = (np.moveaxis((x @ w).reshape(*x.shape[:2], 2, 4), 1, 2) for w in (self.q, self.k, self.v))
        scores = q @ k.swapaxes(-1, -2) / 2.0
        e = np.exp(scores - scores.max(self.axis, keepdims=True))
        y = (e / e.sum(self.axis, keepdims=True)) @ v
        return np.moveaxis(y, 1, 2).reshape(x.shape) @ self.o
"""
TESTS = """\
import attn_ref as ar
from mine import Attention

BLOCK = ar.MultiHeadAttention(width=8, num_heads=2, use_bias=False, output_bias=False)


def test_right(conforms):
    assert conforms(Attention(-1), BLOCK).ok


def test_wrong(conforms):
    conforms(Attention(-2), BLOCK)
"""


@pytest.fixture
def stranger(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the layer, and the entry points of pyproject.toml installed whatever is installed here."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["pytest11"]
    made = pytester.mkdir("site") / "plugin_under_test-0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-under-test\nVersion: 0\n")
    (made / "entry_points.txt").write_text(
        "\n".join(["[pytest11]", *(f"{name} = {module}" for name, module in points.items())])
    )
    places = [made.parent, ROOT, ROOT / "backends", *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(mine=LAYER, test_mine=TESTS)
    return pytester


def test_a_layer_that_does_not_conform_shows_place_line_and_reason(stranger: pytest.Pytester) -> None:
    done = stranger.runpytest_subprocess("--attn-ref-cases", "2")
    done.assert_outcomes(passed=1, failed=1)
    line = LAYER.splitlines().index("        e = np.exp(scores - scores.max(self.axis, keepdims=True))") + 1
    done.stdout.fnmatch_lines([
        ">   *conforms(Attention(-2), BLOCK)",
        "E * is not MultiHeadAttention(*",
        "E * differs first at attention.weights",
        f"E * line * mine.py:{line}",
        "E * reason * the softmax runs over the queries, not over the keys",
        "E * fix *",
        f"test_mine.py::test_wrong: differs first at attention.weights, mine.py:{line}: the softmax runs over *",
        "1 of 2 layers agree with their blocks",
    ])  # fmt: skip
    shown = done.stdout.str()
    assert "attn_ref_pytest.py" not in shown
    assert not re.search(r"attn_ref/\w+(/\w+)*\.py:\d+", shown), "no frame of ours"


def test_the_options_are_for_tests_that_do_not_say_themselves(stranger: pytest.Pytester) -> None:
    stranger.makepyfile(
        test_mine="from test_told import *",
        test_told=TESTS.partition("def test_right")[0] + "def test_cases(conforms):\n"
        "    assert conforms(Attention(-1), BLOCK).cases == 4\n"
        "    assert conforms(Attention(-1), BLOCK, cases=1).cases == 2\n",
    )
    stranger.runpytest_subprocess("test_told.py", "--attn-ref-cases", "3").assert_outcomes(passed=1)
    refused = stranger.runpytest_subprocess("--attn-ref-cases", "few")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*--attn-ref-cases: a whole number from 0 on is wanted; got 'few'"])


def test_the_seed_reaches_the_cases(stranger: pytest.Pytester) -> None:
    """By a stand-in that tells what it is given: other seeds give other cases, which cannot be seen from outside."""
    stranger.makepyfile(
        test_mine="import attn_ref.testing\n\n"
        "def test_seed(conforms, monkeypatch):\n"
        "    told = {}\n"
        "    class Fine:\n"
        "        def brief(self): return 'agrees'\n"
        "    monkeypatch.setattr(attn_ref.testing, 'assert_conforms', lambda *a, **k: told.update(k) or Fine())\n"
        "    conforms(None, None)\n"
        "    assert told == {'seed': 7}\n"
    )
    stranger.runpytest_subprocess("test_mine.py", "--attn-ref-seed", "7").assert_outcomes(passed=1)


def test_what_is_no_layer_fails_without_a_frame_of_ours(stranger: pytest.Pytester) -> None:
    stranger.makepyfile(
        test_mine="import attn_ref as ar\n\n"
        "def test_it(conforms):\n"
        "    conforms(3, ar.MultiHeadAttention(width=8, num_heads=2))\n"
    )
    done = stranger.runpytest_subprocess("test_mine.py")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["E * a layer is called; got a int, which cannot be"])
    assert not re.search(r"attn_ref/\w+(/\w+)*\.py:\d+", done.stdout.str())


def test_who_does_not_use_it_imports_nothing(stranger: pytest.Pytester) -> None:
    stranger.makepyfile(
        test_mine="import sys\n\ndef test_it():\n"
        "    assert 'attn_ref_pytest' in sys.modules\n"
        "    assert {'numpy', 'attn_ref', 'scipy'} & set(sys.modules) == set()\n"
    )
    done = stranger.runpytest_subprocess("test_mine.py", "-p", "no:hypothesispytest")
    done.assert_outcomes(passed=1)
    assert "attn_ref" not in done.stdout.str()


def test_the_tests_that_the_docs_show_pass(stranger: pytest.Pytester) -> None:
    pytest.importorskip("torch")
    page = (ROOT / "docs/conform.md").read_text("utf-8")
    section = page.partition("## In your own tests")[2].partition("\n## ")[0]
    shown = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert len(shown) == 2
    (stranger.path / "test_mine.py").unlink()
    for n, text in enumerate(shown):
        assert "def test_" in text
        (stranger.path / f"test_shown_{n}.py").write_text(text, "utf-8")
    done = stranger.runpytest_subprocess()
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["1 of 1 layers agree with their blocks"])


def test_the_strategy_finds_what_is_wrong_with_the_norm_of_the_docs(stranger: pytest.Pytester) -> None:
    page = (ROOT / "docs/conform.md").read_text("utf-8")
    (right,) = re.findall(r"^```python\n(import numpy.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert "+ eps)" in right
    stranger.makepyfile(test_mine=right.replace(" + eps) ", ") "))
    done = stranger.runpytest_subprocess("test_mine.py")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["E * differs first at output: *off where rounding explains*"])


def test_agreeing_is_by_the_derived_tolerance_and_names_the_first_tap() -> None:
    case = next(c for c in cases(ar.MultiHeadAttention, 40) if not c.empty() and set(c.styles.values()) == {"plain"})
    block, weights, inputs = case.build(), case.weights(), case.inputs()
    with ar.record() as taps:
        output = block(weights, **inputs)
    mine = {name: tap.value for name, tap in taps.items()}
    assert_agrees(case, output, mine)
    assert_agrees(case, output * (1 + 2**-52))
    with pytest.raises(AssertionError, match=r"differs first at output: .*\ncase    \{"):
        assert_agrees(case, output * (1 + 1e-9))
    with pytest.raises(AssertionError, match="differs first at merged"):
        assert_agrees(case, output * 2, {**mine, "merged": mine["merged"] * 2})
    with pytest.raises(AssertionError, match="differs first at output: has shape"):
        assert_agrees(case, output[..., None])
    with pytest.raises(ValueError, match="has no tap mergd; it has "):
        assert_agrees(case, output, {"mergd": output})
