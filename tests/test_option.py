"""An option says its rule once: what it may be, what it needs, what acts, what is drawn; and type checkers see it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import attn_ref as ar
from attn_ref.block import Block, option, same
from attn_ref.check.cases import Seeded
from attn_ref.option import Option, declared

SAID = {
    "int above": (Option("", above=0), "int", "an integer above zero", [1, 9], [0, -1, 1.0, True, None, "1", math.nan]),
    "int or none": (
        Option("", least=0),
        "int | None",
        "an integer from zero up, or None",
        [0, 3, None],
        [-1, 0.5, False],
    ),
    "number": (Option("", above=0), "float | None", "a number above zero or None", [1, 0.1, None], [0, -0.1, math.inf]),
    "rate": (Option("", least=0, below=1), "float", "a number in [0, 1)", [0, 0.0, 0.99], [1, -0.1, True, None, "0"]),
    "share": (Option("", least=0, most=1), "float", "a number in [0, 1]", [0, 1, 0.5], [1.1, -1, False]),
    "flag": (Option(""), "bool", "True or False", [True, False], [0, 1, None, "True"]),
    "flag or none": (Option(""), "bool | None", "True, False or None", [True, False, None], [0, 1.0, "None"]),
    "choice": (Option("", choices=("a", "b")), "str | None", "one of None, 'a', 'b'", ["a", None], ["c", 1, True]),
    "both": (
        Option("", choices=("a",)),
        "float | str | None",
        "'a', a number or None",
        ["a", 2, -0.5, None],
        ["b", True],
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_an_option_may_be(name: str) -> None:
    said, kind, words, good, bad = SAID[name]
    assert said.words(declared(kind)) == words
    assert all(said.fits(value, declared(kind)) for value in good)
    assert not any(said.fits(value, declared(kind)) for value in bad)


def test_annotations_need_not_be_text() -> None:
    assert declared(int) == {"int"}
    assert declared(float | None) == {"float", "None"} == declared("float|None")


@dataclass(frozen=True, kw_only=True)
class Sharp(Block):
    """For these tests."""

    width: int = option(meaning="how wide", above=0, witness=5, draw=(2, 3))
    sharpen: bool = option(default=False, meaning="is it sharp?", witness=True)
    by: float = option(default=1.0, meaning="how much", above=0, needs="sharpen", witness={"sharpen": True, "by": 2.0})
    cap: float | None = same(ar.ScaledDotProductAttention, "softcap", meaning="another one")

    example = {"width": 3}


def test_a_block_follows_from_its_options() -> None:
    assert Sharp.witnesses == {"width": 5, "sharpen": True, "by": {"sharpen": True, "by": 2.0}, "cap": 1.0}
    assert {Sharp.sample(Seeded(n)).width for n in range(20)} == {2, 3}
    with pytest.raises(ValueError, match=r"^Sharp: width should be an integer above zero; got 0$"):
        Sharp(width=0)
    with pytest.raises(ValueError, match=r"^Sharp: by needs sharpen, which is False$"):
        Sharp(width=1, by=2.0)
    with pytest.raises(ValueError, match=r"^Sharp: cap should be a number above zero or None; got -1$"):
        Sharp(width=1, cap=-1)
    assert Sharp(width=1, sharpen=True, by=2.0).fields() == {"width": 1, "sharpen": True, "by": 2.0, "cap": None}


def test_an_option_that_has_to_be_given_is_not_handed_on() -> None:
    """A type checker would take it for one with a default."""
    with pytest.raises(TypeError, match=r"width of MultiHeadAttention has no default; declare it with option\(\)"):
        same(ar.MultiHeadAttention, "width")


CALLS = """
from typing import Any
import attn_ref as ar
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref_torch.blocks.multi_head_attention import MultiHeadAttention as Torch
from attn_ref_keras.blocks.multi_head_attention import MultiHeadAttention as Keras
MultiHeadAttention(num_heads=2)
MultiHeadAttention(width=8, num_heads=2, softcap="x")
MultiHeadAttention(width=8, num_heads=2, softcaps=1.0)
MultiHeadAttention(width=8, num_heads=2, softcap=1.0, causal=None)
Torch(num_heads=2)
Torch(width=8, num_heads=2, softcap="x")
Keras(num_heads=2)
Keras(width=8, num_heads=2, softcap="x", dtype="float64")
Keras(width=8, num_heads=2, dtype="float64", name="attention")
"""
#: the frameworks' own files are not read, which takes six times as long as all else: the options stand in the mirrors
UNREAD = """
[mypy]
[mypy-torch.*,keras.*]
follow_imports = skip
"""


@pytest.mark.slow
def test_a_type_checker_reads_a_users_call(tmp_path: Path) -> None:
    """Missing, misspelt and mistyped options are told for the block and both mirrors; right calls are not."""
    api: Any = pytest.importorskip("mypy.api")
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "mypy.ini").write_text(UNREAD)
    settings = ("--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache"))
    found, _, _ = api.run([str(tmp_path / "calls.py"), *settings, "--follow-imports=silent"])
    told = {int(line.split(":")[1]): line for line in found.splitlines() if "calls.py:" in line and ": error:" in line}
    assert sorted(told) == [7, 8, 9, 11, 12, 13, 14], found
    assert 'Missing named argument "width" for "MultiHeadAttention"' in told[7]
    assert 'Argument "softcap" to "MultiHeadAttention" has incompatible type "str"' in told[8]
