"""``attn-ref show``: equations as text, markup gone, everything within the terminal."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

import attn_ref as ar
from attn_ref.cli import cli
from attn_ref.commands import formula, prose
from attn_ref.commands.show import describe, doc, page

every_block = pytest.mark.parametrize("name", ar.blocks())


@cache
def described(name: str) -> tuple[ar.Block, dict[str, Any]]:
    block = ar.block(name).build(ar.block(name).example)
    return block, describe(block)


def shown(name: str, width: int) -> dict[str, list[str]]:
    return dict(page(*described(name), width))


@every_block
def test_no_markup_is_left(name: str) -> None:
    text = "\n".join(shown(name, 80)[""])
    assert "=" in prose.latex(doc(ar.block(name))), "every definition has an equation"
    assert [mark for mark in ("\\", "{", "}", ".. math", "``", "`_", "$") if mark in text.partition(">>>")[0]] == []
    assert ">>> import attn_ref as ar" in text, "the example stands as it is"


@every_block
def test_every_command_of_the_equations_is_known(name: str) -> None:
    """What is neither a sign, nor space, nor a form is written as a word: only these may be."""
    words = {"max", "min", "log", "cos", "sin", "tanh"}
    used = set(re.findall(r"\\([A-Za-z]+)", re.sub(formula.LOOKS, "", prose.latex(doc(ar.block(name))))))
    forms = {*formula.UPRIGHT, *formula.SPACES, "qquad", "frac", "tfrac", "sqrt", "begin", "end"}
    assert {command for command in used - forms if not formula.sign(command)} <= words


@every_block
@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_the_terminal(name: str, width: int) -> None:
    """Nothing is wider but an example, or a word that does not fit by itself; and no word is broken."""
    for heading, lines in shown(name, width).items():
        for line in lines:
            alone = len(line.split()) == 1
            assert len(line) <= width or alone or (not heading and line in doc(ar.block(name))), line
    facts = described(name)[1]
    said = " ".join(shown(name, width)["options: default, that of the example shown, meaning"]).split()
    assert [text for text in facts["about"].values() if not set(text.split()) <= set(said)] == []


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"x_{i+1} = x_i^2 W_1", "x_(i+1) = x_i² W₁"),
        (r"\frac{1}{H W} \sum_{i,j} X_{ijc}", "1/(H W) Σ_(i,j) X_ijc"),
        (r"\tfrac{1}{N}\, s\,\Theta \Phi^\top", "(1/N) s Θ Φᵀ"),
        (r"\frac{a+b}{\sqrt{d}}", "(a+b)/√d"),
        (r"m_h = 2^{-8h/n},\quad h = 1 \dots n", "m_h = 2^(−8h/n),  h = 1 … n"),
        (r"a \cos\theta_i \cdot \operatorname{softmax}\bigl(x\bigr)", "a cos θ_i · softmax(x)"),
        (r"\begin{cases} n & n < e \\ \lfloor n/2 \rfloor & n \ge e \end{cases}", "n if n < e; ⌊n/2⌋ if n ≥ e"),
        (r"\text{post-norm: } t{-}1", "post-norm: t−1"),
        (r"U^{(m)}_c e^{(a)_c}", "U^(m)_c e^((a)_c)"),
        (r"\nosuch{z} {a", "nosuchz a"),  # of a stranger's block: no crash
        ("\\", ""),
    ],
)  # fmt: skip
def test_equations_keep_what_belongs_together(latex: str, text: str) -> None:
    assert formula.text(latex) == text


def test_equations_are_lines() -> None:
    assert shown("ScaledDotProductAttention", 80)[""][3:6] == [
        "    A = softmax(cap(s Q Kᵀ) + B)  over the keys that may be attended to",
        "    Y = A V",
        "    cap(x) = c tanh(x / c)",
    ]
    narrow = shown("SelectiveKernel", 40)[""]
    at = narrow.index("    a_mc = e^((z B_m + d_m)_c)/(Σ_n")
    assert narrow[at + 1] == "        e^((z B_n + d_n)_c))", "a long one goes on below, further in"


def test_markup_is_made_plain() -> None:
    text = "``a * b`` is *not* **at all** `a link <https://e.org>`_, `this`_, :class:`Block`; 2 * 3 * 4, :math:`x_1`"
    assert prose.plain(text) == "a * b is not at all a link (https://e.org), this, Block; 2 * 3 * 4, x₁"
    listed = list(prose.paragraphs("One\ntwo.\n\n- first ``x``\n  goes on\n- second", 80))
    assert listed == ["One two.", "- first x goes on\n- second"]


def test_json_has_the_text_the_equations_and_the_latex(capsys: pytest.CaptureFixture[str]) -> None:
    cli(["show", "SqueezeExcitation", "--json"], standalone_mode=False)
    facts = json.loads(capsys.readouterr().out)
    assert facts["equations"][2] == "z_c = 1/(H W) Σ_(i,j) X_ijc"
    assert r"\frac{1}{H W}" in facts["latex"]
    assert "\\" not in facts["text"]


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    cli(["show", "squeeze_excitation"], standalone_mode=False)
    text = capsys.readouterr().out
    assert "    s = σ(max(0, z W₁ + b₁) W₂ + b₂)\n" in text
    assert "\noptions: default, that of the example shown, meaning\n  channels" in text
